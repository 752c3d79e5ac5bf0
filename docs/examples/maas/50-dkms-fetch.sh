#!/bin/bash
# A commissioning script for MAAS: whether a machine has a driver for every device, before it is deployed. It fails where one has none.
#
# --- Start MAAS 1.0 script metadata ---
# name: 50-dkms-fetch
# title: Drivers of all devices
# description: Lists the devices without a driver, and the packages that have one.
# script_type: commissioning
# hardware_type: node
# parallel: any
# timeout: 00:20:00
# may_reboot: false
# recommission: false
# packages:
#   apt: dkms-fetch
# --- End MAAS 1.0 script metadata ---
set -u
dkms-fetch repo add https://drivers.example.org/public/ --fingerprint 0000000000000000000000000000000000000000000000000000000000000000
dkms-fetch plan --require-all
code=$?
dkms-fetch report --json >"${OUTPUT_RESULT_PATH:-/dev/null}" 2>/dev/null
exit "$code"
