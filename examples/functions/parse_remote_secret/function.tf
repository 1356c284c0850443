# What an istiod would find in a Secret made by istioctl create-remote-secret; never the token.
output "remote" {
  value = provider::mesh::parse_remote_secret(file("remote-secret.yaml"))
}
