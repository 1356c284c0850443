//! Two meshes with trust domains and control planes of their own: what one exports, the other calls by its name, and nothing else.

use lab::Proxies;
use lab::traffic::{RealPod, Workload};

use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::traffic::{Shows, arrives, door, knock, lab};
use crate::support::workload::workload as issued;
use rustls::pki_types::CertificateDer;

/// The port of both Services.
const PORT: u16 = 8080;

#[test]
fn an_exported_service_is_called_by_its_name_and_no_other_is() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "west"], Proxies::NetworkEach) else { return };
    let run = Run::of_example(&cli, &lab, "independent-meshes");
    run.apply().ok();
    // In a mesh there is only what it has itself: the other's Service is known by the entry alone.
    let start = |name: &'static str, at: &str, import: &str| -> RealPod {
        let imports = [import];
        let workload = Workload { namespace: "shop", ports: (PORT, 9000), imports: &imports, ..Workload::new(name) };
        let cluster = lab.cluster(at);
        workload.declare(cluster, cluster).expect("a Service");
        workload.run(cluster).expect("a pod")
    };
    let orders = start("orders", "east", "*/cart.shop.svc.cluster.local");
    let cart = start("cart", "west", "*/orders.shop.svc.cluster.local");
    for (from, to) in [(&orders, &cart), (&cart, &orders)] {
        let host = format!("{}.shop.svc.cluster.local", to.name);
        let answer = arrives(from, &host, PORT, &format!("{}/{}", to.cluster, to.name));
        let identity = |pod: &RealPod| Some(format!("spiffe://{}.example/ns/shop/sa/{}", pod.cluster, pod.name));
        assert_eq!((&answer.server, &answer.client), (&identity(to), &identity(from)), "{answer:?}");
        assert_eq!(answer.endpoint, Some(door(lab.cluster(&to.cluster))), "{answer:?}");
    }

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let own = runtime.block_on(issued(lab.cluster("east"), "shop", "orders")).unwrap();
    let chain = || own.chain.iter().map(|part| CertificateDer::from(part.der().to_vec())).collect::<Vec<_>>();
    let to = door(lab.cluster("west"));
    // Another Service of west, one that west does not have, and a pod of west by its address.
    for sni in
        ["outbound_.443_._.kubernetes.default.svc.cluster.local", "outbound_.8080_._.orders.shop.svc.cluster.local"]
    {
        let said = knock(&orders, &to, sni, Shows::Chain(chain(), &own.key));
        assert!(said.is_err(), "{sni} is not exported: {said:?}");
    }
    let direct = orders.exchange(&format!("{}:9000", cart.ip));
    assert!(direct.is_err(), "{direct:?}");
    run.apply().ok(); // what there was to say of Services that were not there yet
    run.settled();
    run.destroy().ok();
}
