"""Writes a repository with python-tuf's metadata API.

Usage: tuf_writer.py PLAN PUBLIC_DIR
PLAN is a JSON file: {"roles": [{"name", "paths": [..], "targets": {path: {"file", "custom"?}}}], "expires": "..Z"}.
Root has two keys and needs both, one ed25519 and one ECDSA P-256; every other role has one.
"""

import datetime
import json
import os
import shutil
import sys

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)


def main() -> None:
    plan_file, public = sys.argv[1:]
    with open(plan_file, encoding="utf-8") as file:
        plan = json.load(file)
    expires = datetime.datetime.strptime(plan["expires"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    os.makedirs(os.path.join(public, "metadata"))

    def write(name, signed, *signers):
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        path = os.path.join(public, "metadata", name)
        metadata.to_file(path)
        with open(path, "rb") as file:
            return MetaFile.from_data(signed.version, file.read(), ["sha256"])

    keys = {role: CryptoSigner.generate_ed25519() for role in ("root", "targets", "snapshot", "timestamp")}
    second = CryptoSigner.generate_ecdsa()
    root = Root(expires=expires, consistent_snapshot=True)
    for role, signer in keys.items():
        root.add_key(signer.public_key, role)
    root.add_key(second.public_key, "root")
    root.roles["root"].threshold = 2
    write("1.root.json", root, keys["root"], second)

    meta, delegations = {}, Delegations({}, {})
    for role in plan["roles"]:
        signer = CryptoSigner.generate_ed25519()
        key = signer.public_key
        delegations.keys[key.keyid] = key
        delegations.roles[role["name"]] = DelegatedRole(role["name"], [key.keyid], 1, True, paths=role["paths"])
        targets = Targets(expires=expires)
        for path, target in role["targets"].items():
            entry = TargetFile.from_file(path, target["file"], ["sha256"])
            if "custom" in target:
                entry.unrecognized_fields["custom"] = target["custom"]
            targets.targets[path] = entry
            directory, name = os.path.split(path)
            directory = os.path.join(public, "targets", directory)
            os.makedirs(directory, exist_ok=True)
            shutil.copy(target["file"], os.path.join(directory, f"{entry.hashes['sha256']}.{name}"))
        meta[f"{role['name']}.json"] = write(f"1.{role['name']}.json", targets, signer)

    targets = Targets(expires=expires, delegations=delegations)
    meta["targets.json"] = write("1.targets.json", targets, keys["targets"])
    snapshot = Snapshot(expires=expires, meta=meta)
    timestamp = Timestamp(expires=expires, snapshot_meta=write("1.snapshot.json", snapshot, keys["snapshot"]))
    write("timestamp.json", timestamp, keys["timestamp"])


main()
