"""Small objects under one root, in a local folder or a bucket: whole or absent, and created by one alone.

    store("runs/mine/round1/search")    a folder of this machine, or one that several mount
    store("gs://bucket/runs/mine")      Google Cloud Storage; needs `pip install 'rstar-jax[gs]'`
    store("s3://bucket/runs/mine")      S3, and what speaks as it does; needs `pip install 'rstar-jax[s3]'`
    store("memory://runs/mine")         of this process, for tests

A bucket knows no rename and no lock. What it knows: an object is there as it was written or not at all, and
it can be written on condition that nothing has that name (GCS: ifGenerationMatch=0, S3: If-None-Match).

    roots.py     which store a path or a URL means, and what is done with all of one
    urls.py      URLs of buckets, told from paths
    folder.py    a store in a folder
    bucket.py    a store in a bucket: requests that are made again, and sentences for those that fail
"""

from rstar_jax.stores.bucket import BucketStore, Unreachable
from rstar_jax.stores.folder import FolderStore
from rstar_jax.stores.roots import Store, redirected, remote, remove_folder, require, store
from rstar_jax.stores.urls import is_google, url_of

__all__ = [
    "BucketStore",
    "FolderStore",
    "Store",
    "Unreachable",
    "is_google",
    "redirected",
    "remote",
    "remove_folder",
    "require",
    "store",
    "url_of",
]
