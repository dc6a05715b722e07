"""The simulated world behind `neverblink.worker.testing`."""
