"""Options of launches that the tests of manifests share, one of every kind."""

from rstar_jax.pods.settings import LaunchSettings

BUCKET = "gs://bucket/run"
EVERY = {
    "one host": LaunchSettings(of="round3", topology="v5e:2x4", queue="", user=0),
    "v5e, volume": LaunchSettings(of="round3", topology="v5e:16x16"),
    "v5p, queues": LaunchSettings(
        of="round3", topology="v5p:4x4x4", workdir=BUCKET, queues=True, priority="high", service_account="a"
    ),
    "v6e, slices": LaunchSettings(of="round3", topology="v6e:8x8*2", workdir=BUCKET, options=("seed=1",)),
    "tpu7x, spot": LaunchSettings(
        of="round3",
        topology="tpu7x:4x4x4*4",
        spot=True,
        queues=True,
        options=("search.rollouts=(8, 16)", "problems.train=a: b #c"),
    ),
}
