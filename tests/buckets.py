"""Object stores on this machine, each a real server with a bucket in it."""

import logging
import threading
from collections.abc import Iterator
from http import HTTPStatus

import pytest


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of a bucket of moto's S3 server, which the environment names while the tests run."""
    import moto.server
    import s3fs

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = moto.server.ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem(use_listings_cache=False).mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(scope="session")
def gs() -> Iterator[str]:
    """The URL of a bucket of an emulator of Google Cloud Storage, which the environment names meanwhile.

    The emulator knows no preconditions. `ifGenerationMatch=0`, which is all that is asked for here, is added.
    """
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects
    from gcp_storage_emulator.server import create_server

    lock, upload = threading.Lock(), objects._multipart_upload

    def with_precondition(request, response, storage):
        with lock:
            if request.query.get("ifGenerationMatch") == ["0"]:
                try:
                    storage.get_file_obj(request.params["bucket_name"], request.data["meta"]["name"])
                    response.status = HTTPStatus.PRECONDITION_FAILED
                    return
                except NotFound:
                    pass
            upload(request, response, storage)

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    port = server._api._httpd.socket.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "_multipart_upload", with_precondition)
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://127.0.0.1:{port}")  # of orbax
        patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
        yield "gs://bucket"
    server.stop()
