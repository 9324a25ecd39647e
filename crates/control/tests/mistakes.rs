//! What a person reads when a file is wrong.

use squall_control::Resources;

const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: shop}
spec: {selector: {app: catalog}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{port: 80}]}
";

const POLICY: &str = "\
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: catalog, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: catalog}]
";

const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: catalog, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: catalog, port: 80}]
  rules:
";

fn mistakes(files: &[(&str, &str)]) -> String {
    let Err(mistakes) = Resources::read(files) else { return String::new() };
    let source = |file: &str| files.iter().find(|(name, _)| *name == file).map_or("", |(_, text)| *text);
    mistakes.iter().map(|mistake| mistake.render(source(&mistake.place.file))).collect()
}

/// The mistakes of `input`, with a shop of two Services beside it.
#[track_caller]
fn check(input: &str, want: &str) {
    assert_eq!(mistakes(&[("shop.yaml", SHOP), ("in.yaml", input)]), want);
}

#[track_caller]
fn check_policy(more: &str, want: &str) {
    check(&format!("{POLICY}{more}"), want);
}

#[track_caller]
fn check_rule(rule: &str, want: &str) {
    check(&format!("{ROUTE}{rule}"), want);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    check(
        "\
kind: Ingress
apiVersion: networking.k8s.io/v1
metadata: {name: a}
",
        "\
in.yaml:1:7: resources of kind `Ingress` are not supported
1 | kind: Ingress
          ^^^^^^^
help: known here: `Service`, `EndpointSlice`, `HTTPRoute`, `GRPCRoute`, `Gateway`, `Secret`, `TrafficPolicy`, `FaultInjection`, `AuthorizationPolicy`, `PeerAuthentication`
",
    );
    check(
        "\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: HTTPRoute
metadata: {name: a}
",
        "\
in.yaml:1:13: `gateway.networking.k8s.io/v1beta1` of `HTTPRoute` is not supported
1 | apiVersion: gateway.networking.k8s.io/v1beta1
                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: write `gateway.networking.k8s.io/v1`
",
    );
    check_rule(
        r#"    - matches: [{path: {type: RegularExpression, value: /.*}}]
      backendRefs: [{name: cart, port: 80}]
"#,
        "\
in.yaml:7:31: `RegularExpression` is not supported: use Exact or PathPrefix
7 |     - matches: [{path: {type: RegularExpression, value: /.*}}]
                                  ^^^^^^^^^^^^^^^^^
",
    );
    check_rule(
        r#"    - filters: [{type: URLRewrite, urlRewrite: {hostname: a}}]
      backendRefs: [{name: cart, port: 80}]
"#,
        "\
in.yaml:7:24: `URLRewrite` is not supported here
7 |     - filters: [{type: URLRewrite, urlRewrite: {hostname: a}}]
                           ^^^^^^^^^^
help: known here: `RequestHeaderModifier`, `ResponseHeaderModifier`, `ExtensionRef`, `RequestRedirect`
in.yaml:7:36: `urlRewrite` of HTTPRoute filter is not supported
7 |     - filters: [{type: URLRewrite, urlRewrite: {hostname: a}}]
                                       ^^^^^^^^^^
help: only header modifiers, redirects and references to a FaultInjection are supported
",
    );
    check(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: catalog, namespace: shop}
spec:
  parentRefs: [{group: gateway.networking.k8s.io, kind: XMesh, name: gw}]
  rules:
    - backendRefs: [{name: cart, port: 80}]
",
        "\
in.yaml:5:51: a reference to `gateway.networking.k8s.io/XMesh` is not supported
5 |   parentRefs: [{group: gateway.networking.k8s.io, kind: XMesh, name: gw}]
                                                      ^^^^
help: write {group: \"\", kind: Service, name: …}
",
    );
}

#[test]
fn a_field_that_does_not_exist_is_shown_with_what_was_meant_and_all_mistakes_at_once() {
    check_policy(
        r#"  circuitBreaker: {consecutiveFailure: 7}
  retry: {attempts: 2}
  limits: {inFlight: 0, pending: many}
"#,
        "\
in.yaml:6:20: `consecutiveFailure` is not a field of circuitBreaker
6 |   circuitBreaker: {consecutiveFailure: 7}
                       ^^^^^^^^^^^^^^^^^^
help: did you mean `consecutiveFailures`?
in.yaml:7:3: `retry` is not a field of TrafficPolicy spec
7 |   retry: {attempts: 2}
      ^^^^^
help: known here: `targetRefs`, `loadBalancing`, `healthCheck`, `retries`, `circuitBreaker`, `serviceCircuitBreaker`, `outlierDetection`, `clientThrottling`, `hedging`, `limits`, `timeouts`, `inbound`, `tls`
in.yaml:8:22: expected a whole number from 1 to 4294967295, found `0`
8 |   limits: {inFlight: 0, pending: many}
                         ^
in.yaml:8:34: expected a whole number from 0 to 4294967295, found `many`
8 |   limits: {inFlight: 0, pending: many}
                                     ^^^^
",
    );
    check_policy(
        r#"  retries: {attempts: 2, on: [conect-failure, teapot], backoff: {base: 250, max: 10ms}}
"#,
        "\
in.yaml:6:31: `conect-failure` is not a reason to retry
6 |   retries: {attempts: 2, on: [conect-failure, teapot], backoff: {base: 250, max: 10ms}}
                                  ^^^^^^^^^^^^^^
help: did you mean `connect-failure`?
in.yaml:6:47: `teapot` is not a reason to retry
6 |   retries: {attempts: 2, on: [conect-failure, teapot], backoff: {base: 250, max: 10ms}}
                                                  ^^^^^^
help: write connect-failure, reset, refused-stream, per-try-timeout, 5xx, gateway-error, a status such as 503, or a gRPC status such as grpc-unavailable
in.yaml:6:72: `250` has no unit: write 250ms, 250s or 250m
6 |   retries: {attempts: 2, on: [conect-failure, teapot], backoff: {base: 250, max: 10ms}}
                                                                           ^^^
",
    );
}

#[test]
fn two_values_that_contradict_each_other_are_both_shown() {
    check_policy(
        r#"  retries: {attempts: 2, backoff: {base: 250ms, max: 10ms}}
"#,
        "\
in.yaml:6:42: `base` is 250ms, more than `max` (10ms)
6 |   retries: {attempts: 2, backoff: {base: 250ms, max: 10ms}}
                                             ^^^^^
6 |   retries: {attempts: 2, backoff: {base: 250ms, max: 10ms}}
                                                         ^^^^ `max` is given here
",
    );
    check_policy(
        r#"  retries: {attempts: 2, budget: {unlimited: true, percent: 20}}
"#,
        "\
in.yaml:6:52: `percent` has no meaning without a budget
6 |   retries: {attempts: 2, budget: {unlimited: true, percent: 20}}
                                                       ^^^^^^^
6 |   retries: {attempts: 2, budget: {unlimited: true, percent: 20}}
                                      ^^^^^^^^^ there is none
",
    );
    check_policy(
        r#"  timeouts: {request: 100ms, perTry: 1s}
"#,
        "\
in.yaml:6:38: `perTry` is 1s, more than `request` (100ms)
6 |   timeouts: {request: 100ms, perTry: 1s}
                                         ^^
6 |   timeouts: {request: 100ms, perTry: 1s}
                          ^^^^^ `request` is given here
",
    );
    check_policy(
        r#"  loadBalancing: {algorithm: RoundRobin, decay: 10s}
"#,
        "\
in.yaml:6:42: `decay` has no meaning with `RoundRobin`
6 |   loadBalancing: {algorithm: RoundRobin, decay: 10s}
                                             ^^^^^
6 |   loadBalancing: {algorithm: RoundRobin, decay: 10s}
                                 ^^^^^^^^^^ chosen here
help: it belongs to PeakEwma
",
    );
    check_policy(
        r#"  circuitBreaker: {open: {min: 2m, max: 1m, jitter: 50}}
"#,
        "\
in.yaml:6:32: `min` is 120s, more than `max` (60s)
6 |   circuitBreaker: {open: {min: 2m, max: 1m, jitter: 50}}
                                   ^^
6 |   circuitBreaker: {open: {min: 2m, max: 1m, jitter: 50}}
                                            ^^ `max` is given here
in.yaml:6:53: `50` is not a percentage: write 50% or 12.5%
6 |   circuitBreaker: {open: {min: 2m, max: 1m, jitter: 50}}
                                                        ^^
",
    );
    check_rule(
        r#"    - timeouts: {request: 1s, backendRequest: 2s}
      backendRefs: [{name: cart, port: 80, weight: 5}, {name: cart, port: 80}]
"#,
        "\
in.yaml:7:47: one try may take 2s, longer than the whole request (1s)
7 |     - timeouts: {request: 1s, backendRequest: 2s}
                                                  ^^
7 |     - timeouts: {request: 1s, backendRequest: 2s}
                              ^^ the whole request
in.yaml:8:63: backend `cart` is given twice: add the weights up
8 |       backendRefs: [{name: cart, port: 80, weight: 5}, {name: cart, port: 80}]
                                                                  ^^^^
8 |       backendRefs: [{name: cart, port: 80, weight: 5}, {name: cart, port: 80}]
                               ^^^^ first given here
",
    );
    check(
        "\
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: catalog, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: catalog}]
  retries: {attempts: 2}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: catalog, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: catalog, port: 80}]
  rules:
    - retry: {attempts: 1}
      backendRefs: [{name: cart, port: 80}]
",
        "\
in.yaml:14:14: retries are set on the rule and in the policy of its Service
14 |     - retry: {attempts: 1}
                  ^^^^^^^^^^^^^
6 |   retries: {attempts: 2}
               ^^^^^^^^^^^^^ the policy's
help: keep one of them
",
    );
}

#[test]
fn a_value_out_of_its_words_or_units_is_refused() {
    check_policy(
        r#"  tls: {mode: none}
"#,
        "\
in.yaml:6:15: `none` is not supported here
6 |   tls: {mode: none}
                  ^^^^
help: did you mean `None`?
",
    );
    check(
        "\
metadata: {name: 80}
kind: Service
apiVersion: v1
spec: {ports: []}
",
        "\
in.yaml:1:18: expected text, found a number
1 | metadata: {name: 80}
                     ^^
help: write \"80\" with quotes
in.yaml:4:15: a Service needs a port
4 | spec: {ports: []}
                  ^^
",
    );
    check(
        "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-x, namespace: shop, labels: {kubernetes.io/service-name: kart}}
addressType: IPv4
ports: [{port: 80}]
endpoints: [{addresses: [10.0.0.300]}, {addresses: ['::1'], conditions: {ready: yes}}]
",
        "\
in.yaml:6:26: `10.0.0.300` is not an IP address
6 | endpoints: [{addresses: [10.0.0.300]}, {addresses: ['::1'], conditions: {ready: yes}}]
                             ^^^^^^^^^^
in.yaml:6:81: expected `true` or `false`, found `yes`
6 | endpoints: [{addresses: [10.0.0.300]}, {addresses: ['::1'], conditions: {ready: yes}}]
                                                                                    ^^^
",
    );
}

#[test]
fn what_is_given_twice_is_shown_twice() {
    check(
        "\
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: catalog, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: catalog}]
---
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: second, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: catalog}]
",
        "\
in.yaml:11:49: Service `catalog` has two policies
11 |   targetRefs: [{group: '', kind: Service, name: catalog}]
                                                     ^^^^^^^
5 |   targetRefs: [{group: '', kind: Service, name: catalog}]
                                                    ^^^^^^^ the first
",
    );
    check_rule(
        r#"    - backendRefs: [{name: cart, port: 80}]
    - matches: [{path: {value: /}}]
      backendRefs: [{name: catalog, port: 80}]
"#,
        "\
in.yaml:8:17: Service `catalog` has this match already
8 |     - matches: [{path: {value: /}}]
                    ^^^^^^^^^^^^^^^^^^
7 |     - backendRefs: [{name: cart, port: 80}]
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ the first, which takes every request
",
    );
    check(
        "\
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{port: 80}]}
",
        "\
in.yaml:3:18: Service `shop/cart` is given twice
3 | metadata: {name: cart, namespace: shop}
                     ^^^^
  shop.yaml:8:18: first given here
",
    );
}

#[test]
fn a_reference_to_nothing_says_what_was_meant() {
    check(
        "\
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: catalog, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: catlog}]
",
        "\
in.yaml:5:49: targetRef refers to `catlog`, which is not a Service in namespace `shop`
5 |   targetRefs: [{group: '', kind: Service, name: catlog}]
                                                    ^^^^^^
  shop.yaml:3:18: `catalog` is here
help: did you mean `catalog`?
",
    );
    check_rule(
        r#"    - backendRefs: [{name: chart, port: 80}, {name: cart, port: 8080}]
"#,
        "\
in.yaml:7:28: backendRef refers to `chart`, which is not a Service in namespace `shop`
7 |     - backendRefs: [{name: chart, port: 80}, {name: cart, port: 8080}]
                               ^^^^^
  shop.yaml:8:18: `cart` is here
help: did you mean `cart`?
in.yaml:7:65: Service `cart` has no port 8080
7 |     - backendRefs: [{name: chart, port: 80}, {name: cart, port: 8080}]
                                                                    ^^^^
  shop.yaml:8:18: it has 80
",
    );
}

#[test]
fn a_cluster_ip_leads_to_one_service() {
    let service = |name: &str, ip: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {ip}, ports: [{{port: 80}}]}}\n"
        )
    };
    let found = |a: &str, b: &str| match Resources::read(&[("a.yaml", &service("a", a)), ("b.yaml", &service("b", b))])
    {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(found("10.0.0.1", "10.0.0.2"), [""; 0]);
    assert_eq!(found("None", "None"), [""; 0]);
    let [twice] = found("10.0.0.1", "10.0.0.1").try_into().expect("one mistake");
    assert!(twice.contains("`10.0.0.1` is the cluster IP of two Services"), "{twice}");
    let [odd] = found("10.0.0.1", "web").try_into().expect("one mistake");
    assert!(odd.contains("`web` is not an IP address, and not `None`"), "{odd}");
}

#[test]
fn a_service_that_cannot_be_is_refused() {
    check(
        "\
apiVersion: v1
kind: Service
metadata: {name: Web, namespace: shop}
spec: {type: ExternalName, externalName: a.b, ports: [{port: 80, name: a}, {port: 80, name: b, targetPort: 99999}]}
",
        "\
in.yaml:3:18: `Web` is not a name: use lower-case letters, digits and -
3 | metadata: {name: Web, namespace: shop}
                     ^^^
in.yaml:4:14: `ExternalName` is not supported here
4 | spec: {type: ExternalName, externalName: a.b, ports: [{port: 80, name: a}, {port: 80, name: b, targetPort: 99999}]}
                 ^^^^^^^^^^^^
help: known here: `ClusterIP`, `NodePort`, `LoadBalancer`
in.yaml:4:28: `externalName` of Service spec is not supported
4 | spec: {type: ExternalName, externalName: a.b, ports: [{port: 80, name: a}, {port: 80, name: b, targetPort: 99999}]}
                               ^^^^^^^^^^^^
help: Squall routes only to pods
",
    );
}

#[test]
fn what_is_not_yaml_is_refused_with_its_place() {
    check(
        "\
apiVersion: v1
kind: Service
metadata:
  name: web
  name: wob
spec: *x
",
        "\
in.yaml:6:7: not YAML: while parsing node, found unknown anchor
6 | spec: *x
          ^
",
    );
    check(
        "\
apiVersion: v1
kind: [
",
        "\
in.yaml:2:7: not YAML: unclosed bracket '['
2 | kind: [
          ^
",
    );
}

/// The mistakes of EndpointSlices with these annotations, each naming the same pod, in one line each.
fn of_slices(annotations: &[&str]) -> Vec<String> {
    let slice = |(number, annotations): (usize, &&str)| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{number}, namespace: shop, \
             labels: {{kubernetes.io/service-name: cart}}, annotations: {{{annotations}}}}}\naddressType: IPv4\n\
             ports: [{{port: 80}}]\nendpoints: [{{addresses: [10.0.0.{}], targetRef: {{kind: Pod, name: cart-0}}}}]\n",
            number + 1
        )
    };
    let text: String = annotations.iter().enumerate().map(slice).collect();
    let Err(mistakes) = Resources::read(&[("shop.yaml", SHOP), ("in.yaml", &text)]) else { return Vec::new() };
    mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn an_annotation_of_ours_that_is_misspelt_is_not_taken_for_nothing() {
    assert_eq!(of_slices(&["example.com/anything: x, squall.dev/service-account: cart"]), [""; 0]);
    let [misspelt] = of_slices(&["squall.dev/service-acount: cart"]).try_into().expect("one mistake");
    assert!(misspelt.contains("`squall.dev/service-acount` is not an annotation of EndpointSlice"), "{misspelt}");
    assert!(misspelt.contains("did you mean `squall.dev/service-account`?"), "{misspelt}");
    let [odd] = of_slices(&["squall.dev/service-account: shop/cart"]).try_into().expect("one mistake");
    assert!(odd.contains("`shop/cart` is not the name of a service account"), "{odd}");
    assert_eq!(of_slices(&["squall.dev/service-account: 'spiffe://other.mesh/ns/shop/sa/cart'"]), [""; 0]);
    let [bare] = of_slices(&["squall.dev/service-account: 'spiffe://other.mesh'"]).try_into().expect("one mistake");
    assert!(bare.contains("nor a SPIFFE id"), "{bare}");
}

#[test]
fn a_weight_is_a_number_that_balancing_looks_at() {
    let [odd] = of_slices(&["squall.dev/weight: '0'"]).try_into().expect("one mistake");
    assert!(odd.contains("`0` is not a weight, 1 to 1000"), "{odd}");
    let [unused] = of_slices(&["squall.dev/weight: '3'"]).try_into().expect("one mistake");
    assert!(unused.contains("a weight has no meaning with `PeakEwma`"), "{unused}");
}

#[test]
fn a_pod_cannot_be_two_accounts() {
    let found = of_slices(&["squall.dev/service-account: cart", "squall.dev/service-account: shop"]);
    let [both] = found.try_into().expect("one mistake");
    assert!(both.contains("pod `cart-0` cannot run as `shop` and as `cart`"), "{both}");
}
