# The session key from the KV engine, and logins from the database engine. That a login's lease may
# be renewed is in Vault's own policy `default`, which every token has: docs/external/vault-agent.md
path "secret/data/flask-app/session" {
  capabilities = ["read"]
}

path "database/creds/flask-app" {
  capabilities = ["read"]
}
