#!/bin/sh
# FAI: scripts/DKMSFETCH/10-drivers, run after the packages of the class DKMSFETCH (dkms-fetch gcc make linux-headers-amd64) are installed.
# $target is the new system, $ROOTCMD a chroot into it.
error=0
$ROOTCMD dkms-fetch repo add https://drivers.example.org/public/ --fingerprint 0000000000000000000000000000000000000000000000000000000000000000 || error=$?
# The running kernel is the installer's. What cannot be built now is tried at the first boot.
$ROOTCMD dkms-fetch --auto --kernel all || echo "dkms-fetch ended with $?"
$ROOTCMD systemctl enable dkms-fetch-first-boot.service || error=$?
exit $error
