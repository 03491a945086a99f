# All that a gateway may do in Vault, and no more. It goes with the default
# settings; change the paths when you change these:
#
#   secret    --vault-mount          a KV secrets engine, version 2
#   sluice    --vault-prefix         the folder in it, with a folder for each account
#   transit   --vault-transit-mount  a Transit secrets engine
#   sluice    --vault-transit-key    its key, of which a key for each account is derived

# Secrets are read, created and changed. Every write names the version that it
# replaces.
path "secret/data/sluice/+/+" {
  capabilities = ["create", "read", "update"]
}

# The keys of one account are listed, but not the accounts: that is what the last
# slash is for.
path "secret/metadata/sluice/+/" {
  capabilities = ["list"]
}

# A deleted secret is gone with all its versions.
path "secret/metadata/sluice/+/+" {
  capabilities = ["delete"]
}

# The form that those see who may not see values. The gateway cannot decrypt it.
path "transit/encrypt/sluice" {
  capabilities = ["update"]
}

# The gateway looks after its own token.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
