// SPDX-License-Identifier: GPL-2.0
/* The smallest module that has what a test reads. */
#include <linux/module.h>
#include <linux/pci.h>
static const struct pci_device_id tiny_ids[] = { { PCI_DEVICE(0x1234, 0x11e8) }, { } };
MODULE_DEVICE_TABLE(pci, tiny_ids);
static int __init tiny_init(void) { pr_info("tiny\n"); return 0; }
static void __exit tiny_exit(void) { }
module_init(tiny_init);
module_exit(tiny_exit);
MODULE_DESCRIPTION("The smallest module that has what a test reads");
MODULE_VERSION("1.2");
MODULE_LICENSE("GPL");
