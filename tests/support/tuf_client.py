"""Refreshes from a repository and downloads targets with python-tuf's client.

Usage: tuf_client.py URL PINNED_ROOT WORK_DIR TARGET...
Prints one JSON object: the versions of the roles, and path and SHA-256 of each downloaded target.
"""

import hashlib
import json
import os
import sys

from tuf.ngclient import Updater, UpdaterConfig


def main() -> None:
    url, root, work, *targets = sys.argv[1:]
    metadata, downloads = os.path.join(work, "metadata"), os.path.join(work, "targets")
    os.makedirs(metadata)
    os.makedirs(downloads)
    with open(root, "rb") as file:
        pinned = file.read()
    updater = Updater(
        metadata,
        url + "metadata/",
        downloads,
        url + "targets/",
        config=UpdaterConfig(),
        bootstrap=pinned,
    )
    updater.refresh()
    hashes = {}
    for target in targets:
        info = updater.get_targetinfo(target)
        if info is None:
            raise SystemExit(f"{target}: no role vouches for it")
        with open(updater.download_target(info), "rb") as file:
            hashes[target] = hashlib.sha256(file.read()).hexdigest()
    trusted = updater._trusted_set
    versions = {role: trusted[role].version for role in ("root", "timestamp", "snapshot", "targets")}
    print(json.dumps({"versions": versions, "targets": hashes}))


main()
