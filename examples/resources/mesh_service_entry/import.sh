# cluster/namespace/name of the ServiceEntry
terraform import mesh_service_entry.cart east/istio-system/cart-shop-svc-cluster-local
