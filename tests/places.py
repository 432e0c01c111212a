"""Where blobs are, for tests that run on both: look at them and damage them."""

import itertools

from tests import s3
from tests.s3 import obstore
from trace_node.store.blobs import FileBlobs, open_blobs

ORIGIN = "store.example/log"
KINDS = ["files", "s3"]
_numbers = itertools.count()


class FilePlace:
    def __init__(self, folder):
        self.folder = folder
        self.blobs = FileBlobs(folder)

    def get(self, name):
        path = self.folder / name
        return path.read_bytes() if path.exists() else None

    def put(self, name, data):
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(data)

    def delete(self, name):
        (self.folder / name).unlink()

    def all(self):
        found = {p for p in self.folder.rglob("*") if p.is_file()}
        return {p.relative_to(self.folder).as_posix() for p in found}

    def close(self):
        pass


class S3Place:
    def __init__(self, port=None, **options):
        self.server = s3.shared()
        self.prefix = f"p{next(_numbers)}"
        self.root = f"{self.prefix}/{ORIGIN}/"
        self.url = self.server.url(self.prefix, port, **options)
        self.bucket = self.server.bucket()
        with s3.credentials():
            self.blobs = open_blobs(self.url, None, ORIGIN)

    def get(self, name):
        try:
            return bytes(obstore.get(self.bucket, self.root + name).bytes())
        except FileNotFoundError:
            return None

    def put(self, name, data):
        obstore.put(self.bucket, self.root + name, data, use_multipart=False)

    def delete(self, name):
        obstore.delete(self.bucket, self.root + name)

    def all(self):
        pages = obstore.list(self.bucket, self.root)
        return {m["path"].removeprefix(self.root) for page in pages for m in page}

    def close(self):
        self.blobs.close()
