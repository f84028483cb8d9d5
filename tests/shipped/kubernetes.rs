//! `deploy/kubernetes`: every manifest against the API's schema, and what the manifests say of each
//! other and of the configuration.
//!
//! `kubernetes.schema.json` is the published schema of these kinds, cut down to the types that the
//! manifests use. So names and types of fields are checked, values that only the API server knows
//! (formats, ranges, defaults) are not.

use std::path::Path;

use handfast::config;
use serde_json::Value;

use crate::schema::check;
use crate::text::{files, read, yaml};

/// The manifests, and the kustomization apart.
fn manifests() -> (Vec<Value>, Value) {
    let mut manifests = Vec::new();
    let mut kustomization = Value::Null;
    for path in files("deploy/kubernetes", ".yaml") {
        for document in yaml(&read(path.to_str().unwrap())) {
            match document["kind"].as_str() {
                Some("Kustomization") => kustomization = document,
                _ => manifests.push(document),
            }
        }
    }
    (manifests, kustomization)
}

fn of_kind(kind: &str) -> Value {
    let (manifests, _) = manifests();
    let mut found = manifests.into_iter().filter(|it| it["kind"] == kind);
    found.next().unwrap_or_else(|| panic!("there is no {kind}"))
}

#[test]
fn manifests_are_what_the_api_takes() {
    let schema: Value = serde_json::from_str(include_str!("kubernetes.schema.json")).unwrap();
    let (manifests, _) = manifests();
    for manifest in &manifests {
        let kind = manifest["kind"].as_str().unwrap();
        let own = schema["kinds"]
            .get(kind)
            .unwrap_or_else(|| panic!("no schema of {kind}"));
        check(&schema, own, manifest, kind).unwrap();
    }
    // The schema does refuse.
    let mut wrong = of_kind("Deployment");
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = Value::Null;
    let fault = check(&schema, &schema["kinds"]["Deployment"], &wrong, "it").unwrap_err();
    assert!(
        fault.ends_with("readynessProbe is not in the schema"),
        "{fault}"
    );
    let mut wrong = of_kind("Service");
    wrong["spec"]["ports"][0]["port"] = "443".into();
    check(&schema, &schema["kinds"]["Service"], &wrong, "it").unwrap_err();
}

#[test]
fn the_kustomization_names_every_manifest() {
    let (_, kustomization) = manifests();
    let mut named: Vec<_> = kustomization["resources"].as_array().unwrap().clone();
    named.sort_by_key(Value::to_string);
    let there = files("deploy/kubernetes", ".yaml").into_iter();
    let there = there.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    let there: Vec<_> = there.filter(|name| name != "kustomization.yaml").collect();
    assert_eq!(named, there);
}

#[test]
fn pods_can_do_no_more_than_they_need() {
    let pod = &of_kind("Deployment")["spec"]["template"]["spec"];
    let security = &pod["securityContext"];
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"], false);
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
}

#[test]
fn manifests_and_configuration_fit_together() {
    let text = read("deploy/kubernetes/handfast.toml");
    assert_eq!(
        text,
        read("config/kubernetes.toml"),
        "config/kubernetes.toml is another"
    );
    let config = config::parse(&text, Path::new("/etc/handfast/handfast.toml"))
        .unwrap()
        .config;

    let pod = &of_kind("Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let port = |name: &str| {
        let ports = container["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| port["name"] == name).unwrap();
        port["containerPort"].as_u64().unwrap()
    };
    let table: toml::Table = toml::from_str(&text).unwrap();
    let listens = |address: &toml::Value| -> u64 {
        let (_, port) = address.as_str().unwrap().rsplit_once(':').unwrap();
        port.parse().unwrap()
    };
    assert_eq!(listens(&table["listeners"][0]["address"]), port("https"));
    assert_eq!(listens(&table["health"]["address"]), port("health"));
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "health");
    }

    // Pods are given the time that they take to drain, and some.
    let drains = config.shutdown.drain_delay.unwrap() + config.shutdown.drain_timeout;
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace > drains.as_secs(), "{grace} s");

    // Every volume is mounted, and every file of the configuration is below a mount.
    let mounts = container["volumeMounts"].as_array().unwrap();
    for volume in pod["volumes"].as_array().unwrap() {
        assert!(
            mounts.iter().any(|mount| mount["name"] == volume["name"]),
            "{volume}"
        );
    }
    for mount in mounts {
        assert!(mount.get("subPath").is_none(), "{mount} never changes");
    }
    for path in text
        .split('"')
        .filter(|text| text.starts_with("/etc/") || text.starts_with("/run/"))
    {
        let below =
            |mount: &Value| path.starts_with(&format!("{}/", mount["mountPath"].as_str().unwrap()));
        let is_mount = |mount: &Value| mount["mountPath"] == path;
        assert!(
            mounts.iter().any(|mount| below(mount) || is_mount(mount)),
            "{path}"
        );
    }

    // One set of labels chooses the pods, for everybody who chooses.
    let labels = &of_kind("Deployment")["spec"]["template"]["metadata"]["labels"];
    let chosen = [
        of_kind("Service")["spec"]["selector"].clone(),
        of_kind("Deployment")["spec"]["selector"]["matchLabels"].clone(),
        of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].clone(),
        of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].clone(),
    ];
    for selector in chosen {
        assert_eq!(&selector, labels);
    }
}
