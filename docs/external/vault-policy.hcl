# What reads the service's secrets may read these two objects of the KV engine, and nothing else:
# docs/external/README.md
path "secret/data/flask-app/session" {
  capabilities = ["read"]
}

path "secret/data/flask-app/database" {
  capabilities = ["read"]
}
