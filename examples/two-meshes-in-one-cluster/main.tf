# Two teams share a cluster and nothing else: each has a mesh with a control plane, a namespace and a root of its own.
# Neither istiod sees the other's workloads. A namespace joins a mesh, such as blue, by two labels. By mesh = "blue" the
# istiod of that mesh sees the namespace. By istio.io/rev = "blue" its Pods get a proxy of that mesh.

variable "cluster" {
  description = "The cluster that the meshes share, the first of `kubeconfigs` by name if not set."
  type        = string
  default     = null
}

variable "meshes" {
  description = "Names of the meshes. Each is the revision of its control plane and the value of the label `mesh`."
  type        = list(string)
  default     = ["blue", "green"]
}

locals {
  cluster = var.cluster == null ? sort(keys(var.kubeconfigs))[0] : var.cluster
  system  = { for name in var.meshes : name => "istio-${name}" }
}

# The roots are in the cluster whose Secrets they guard. Keep those of your own meshes in another one.
resource "mesh_ca" "this" {
  for_each = local.system
  root     = { store = { cluster = local.cluster, name = "root-${each.key}" } }
  clusters = { (local.cluster) = { namespace = each.value } }
}

resource "mesh_primary" "this" {
  for_each   = local.system
  cluster    = local.cluster
  mesh_id    = each.key
  namespace  = each.value
  revision   = each.key
  trust_root = mesh_ca.this[each.key].root_fingerprint
  # The definitions and the default validator are shared by all control planes of a cluster, so one of them has them.
  install_base = each.key == var.meshes[0]
  values = [yamlencode({
    meshConfig = {
      discoverySelectors = [
        { matchLabels = { mesh = each.key } },
        { matchLabels = { "kubernetes.io/metadata.name" = each.value } },
      ]
    }
  })]
}

output "roots" {
  value = { for name, ca in mesh_ca.this : name => ca.root_fingerprint }
}
