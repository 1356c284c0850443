# cluster/namespace/name of the Secret that keeps the root
terraform import mesh_ca.this east/mesh-root-ca/mesh-root-ca

# a root of your own: cluster/namespace/cacerts of a cluster that trusts it
terraform import mesh_ca.brought north/istio-system/cacerts
