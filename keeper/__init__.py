"""The Job that makes the secrets inside the cluster, so that nobody holds one.

It shares `secret_files` and nothing else with the service.
"""
