"""Deployments: admission, queue, pipeline, adoption and pushed branches."""
