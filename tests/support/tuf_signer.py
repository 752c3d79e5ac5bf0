"""Signs a metadata file in its place, as python-tuf and securesystemslib do it.

Usage: tuf_signer.py FILE KEY.pem
"""

import sys

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata


def main() -> None:
    file, pem = sys.argv[1:]
    with open(pem, "rb") as key:
        signer = CryptoSigner(load_pem_private_key(key.read(), None))
    metadata = Metadata.from_file(file)
    # Our ids of keys are those of securesystemslib.
    metadata.sign(signer, append=True)
    metadata.to_file(file)


main()
