//! Values that a chart's author did not think of, at the paths its templates read.

/// xorshift64*
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % limit as u64).unwrap()
    }
}

/// Paths the templates use, given values they may not expect.
pub fn random_values(random: &mut Random, chart: &str) -> String {
    let paths: &[&str] = match chart {
        "istiod" => ISTIOD_PATHS,
        "gateway" => GATEWAY_PATHS,
        _ => AGENT_PATHS,
    };
    let mut root = serde_json::Map::new();
    for _ in 0..1 + random.below(6) {
        let path = paths[random.below(paths.len())];
        let mut at = &mut root;
        let mut keys = path.split('.').peekable();
        while let Some(key) = keys.next() {
            if keys.peek().is_none() {
                at.insert(key.to_owned(), random_value(random, 0));
                break;
            }
            let inner = at.entry(key).or_insert_with(|| serde_json::json!({}));
            if !inner.is_object() {
                *inner = serde_json::json!({});
            }
            at = inner.as_object_mut().unwrap();
        }
    }
    // JSON is YAML; plain scalars, which are not, replace their marked texts.
    let mut text = serde_json::to_string_pretty(&root).unwrap();
    for (i, plain) in PLAIN.iter().enumerate() {
        text = text.replace(&format!("\"\u{2603}{i}\u{2603}\""), plain);
    }
    text
}

fn random_value(random: &mut Random, depth: usize) -> serde_json::Value {
    match random.below(if depth > 2 { 6 } else { 9 }) {
        0 | 1 => format!("\u{2603}{}\u{2603}", random.below(PLAIN.len())).into(),
        2..=5 => TEXTS[random.below(TEXTS.len())].into(),
        6 => (0..random.below(3)).map(|_| random_value(random, depth + 1)).collect(),
        _ => (0..random.below(4))
            .map(|_| (TEXTS[random.below(TEXTS.len())].to_owned(), random_value(random, depth + 1)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

const PLAIN: &[&str] = &[
    "0",
    "1",
    "-1",
    "3",
    "1.5",
    "1000000",
    "123456789",
    "1e3",
    "1e21",
    "0x1F",
    "017",
    "0o17",
    "0b11",
    "1_000",
    ".5",
    "-0.0",
    "true",
    "false",
    "yes",
    "off",
    "~",
    "null",
    "2001-01-01",
    "12:30",
    "9007199254740993",
    "18446744073709551615",
    "1.10",
];

const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "default",
    "true",
    "yes",
    "0",
    "1",
    "1.0",
    "1e3",
    "0x10",
    "null",
    "~",
    "a: b",
    "- a",
    "#x",
    "a #b",
    "{}",
    "[a",
    "{{ .Values.x }}",
    "it's",
    "say \"hi\"",
    "back\\slash",
    "tab\there",
    "line\nbreak",
    "end\n",
    "\n",
    "two\n\nlines\n",
    " lead",
    "trail ",
    "ünï",
    "☃",
    "😀",
    "\u{a0}",
    "*x",
    "&x",
    "!x",
    "|",
    ">",
    "%",
    "@",
    "`",
    "a,b",
    "a.b.c",
    "x/y:z",
    "2001-01-01",
    "12:30:45",
    "---",
    "--- a",
    "...",
    "<no value>",
    "<a&b>",
    "$1",
    "a text of many words that goes on and on, beyond the eightieth column, where lines may be folded at a space",
];

const ISTIOD_PATHS: &[&str] = &[
    "revision",
    "profile",
    "platform",
    "compatibilityVersion",
    "resourceScope",
    "revisionTags",
    "ownerName",
    "meshConfig",
    "meshConfig.trustDomain",
    "meshConfig.defaultConfig",
    "meshConfig.defaultConfig.proxyMetadata",
    "meshConfig.rootNamespace",
    "global.network",
    "global.meshID",
    "global.hub",
    "global.tag",
    "global.variant",
    "global.imagePullPolicy",
    "global.imagePullSecrets",
    "global.priorityClassName",
    "global.multiCluster.clusterName",
    "global.remotePilotAddress",
    "global.externalIstiod",
    "global.configCluster",
    "global.meshNetworks",
    "global.istioNamespace",
    "global.logging.level",
    "global.logAsJson",
    "global.proxy",
    "global.proxy.image",
    "global.proxy.resources",
    "global.proxy.env",
    "global.caAddress",
    "global.caName",
    "global.certSigners",
    "global.networkPolicy.enabled",
    "global.defaultPodDisruptionBudget.enabled",
    "global.platform",
    "global.waypoint",
    "global.pilotCertProvider",
    "global.operatorManageWebhooks",
    "global.omitSidecarInjectorConfigMap",
    "pilot.env",
    "pilot.env.A",
    "pilot.resources",
    "pilot.hub",
    "pilot.image",
    "pilot.tag",
    "pilot.replicaCount",
    "pilot.autoscaleEnabled",
    "pilot.autoscaleMin",
    "pilot.autoscaleBehavior",
    "pilot.nodeSelector",
    "pilot.tolerations",
    "pilot.affinity",
    "pilot.podAnnotations",
    "pilot.podLabels",
    "pilot.serviceAnnotations",
    "pilot.volumes",
    "pilot.extraContainerArgs",
    "pilot.jwksResolverExtraRootCA",
    "pilot.cni",
    "pilot.taint",
    "pilot.trustedZtunnelNamespace",
    "pilot.ipFamilies",
    "pilot.traceSampling",
    "pilot.memory",
    "pilot.initContainers",
    "istiodRemote",
    "istiodRemote.enabled",
    "istiodRemote.injectionURL",
    "istiodRemote.injectionPath",
    "sidecarInjectorWebhook.templates",
    "sidecarInjectorWebhook.defaultTemplates",
    "sidecarInjectorWebhook.neverInjectSelector",
    "sidecarInjectorWebhook.injectedAnnotations",
    "sidecarInjectorWebhook.enableNamespacesByDefault",
    "gatewayClasses",
    "telemetry",
    "telemetry.v2",
    "experimental",
    "base",
    "istio_cni",
];

const GATEWAY_PATHS: &[&str] = &[
    "name",
    "revision",
    "kind",
    "replicaCount",
    "labels",
    "annotations",
    "podAnnotations",
    "env",
    "networkGateway",
    "networkGatewayPorts",
    "service",
    "service.type",
    "service.ports",
    "service.annotations",
    "service.loadBalancerIP",
    "service.externalTrafficPolicy",
    "service.loadBalancerSourceRanges",
    "resources",
    "autoscaling",
    "autoscaling.enabled",
    "nodeSelector",
    "tolerations",
    "affinity",
    "volumes",
    "serviceAccount",
    "serviceAccount.name",
    "rbac.enabled",
    "securityContext",
    "imagePullSecrets",
    "imagePullPolicy",
    "podDisruptionBudget",
    "priorityClassName",
    "terminationGracePeriodSeconds",
    "global.hub",
    "platform",
    "profile",
    "strategy",
    "lifecycle",
    "initContainers",
];

const AGENT_PATHS: &[&str] = &[
    "hub",
    "tag",
    "variant",
    "image",
    "pullPolicy",
    "imagePullPolicy",
    "cniBinDir",
    "cniConfDir",
    "excludeNamespaces",
    "podAnnotations",
    "podLabels",
    "logging",
    "logging.level",
    "repair",
    "repair.enabled",
    "chained",
    "provider",
    "resources",
    "resourceQuotas",
    "ambient",
    "ambient.enabled",
    "env",
    "env.A",
    "global.hub",
    "global.platform",
    "global.variant",
    "global.imagePullSecrets",
    "profile",
    "revision",
    "updateStrategy",
    "meshConfig",
    "multiCluster.clusterName",
    "network",
    "labels",
    "annotations",
    "volumes",
    "nodeSelector",
    "tolerations",
    "affinity",
    "seLinuxOptions",
    "logAsJson",
    "logLevel",
    "resourceName",
    "xdsAddress",
];
