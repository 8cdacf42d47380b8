//! Agents that listen on a unix socket, or speak TLS.

use std::path::PathBuf;

use serde_json::json;
use shipit_fleet::consul::{Client, ConsulConfig, Error, ErrorKind, Tls};
use shipit_testbed::ports::Address;
use shipit_testbed::{Cmd, Testbed, Tmp};

use crate::agents::{agent, block_on, client, config, event, fire};

const NAME: &str = "deploy_shop_web_production";

fn base(address: &Address) -> serde_json::Value {
    let (serf, rpc) = (address.port(), address.port());
    json!({
        "node_name": "dev",
        "bind_addr": address.ip().to_string(),
        "client_addr": address.ip().to_string(),
        "disable_update_check": true,
        "ports": { "http": -1, "serf_lan": serf, "server": rpc, "serf_wan": -1, "dns": -1, "grpc": -1 },
    })
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_unix_socket() {
    let (dir, address) = (Tmp::new("consul-unix"), Address::claim());
    let socket = dir.join("http.sock");
    let mut settings = base(&address);
    settings["addresses"] = json!({ "http": format!("unix://{}", socket.display()) });
    settings["ports"]["http"] = json!(address.port());
    let client = client(&format!("unix://{}", socket.display()));
    let _agent = agent(&dir, &settings, || {
        socket.exists() && block_on(client.nodes()).is_ok()
    });
    let id = fire(&client, &event(NAME, "file:///m.yml")).unwrap();
    assert_eq!(id.to_string().len(), 36);
    let nowhere = format!("unix://{}", dir.join("none.sock").display());
    let client = Client::new(&ConsulConfig {
        attempts: 1,
        ..config(&nowhere)
    })
    .unwrap();
    let error = fire(&client, &event(NAME, "file:///m.yml")).unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { .. }) && error.to_string().contains(&nowhere),
        "{error:?}"
    );
}

/// A CA with a server's certificate (for `server.dc1.consul`) and a client's.
fn certificates() -> Tmp {
    let dir = Tmp::new("consul-tls");
    let tls = |words: &[&str]| {
        Cmd::new(Testbed::get().consul())
            .arg("tls")
            .args(words)
            .cwd(dir.path())
            .run()
            .ok();
    };
    tls(&["ca", "create"]);
    tls(&["cert", "create", "-server"]);
    tls(&["cert", "create", "-client"]);
    dir
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn tls_with_an_authority_of_ones_own() {
    let (pems, dir, address) = (certificates(), Tmp::new("consul-https"), Address::claim());
    let stranger = certificates();
    let pem = |name: &str| Some(pems.join(name));
    let port = address.port();
    let mut settings = base(&address);
    settings["ports"]["https"] = json!(port);
    settings["ca_file"] = json!(pem("consul-agent-ca.pem"));
    settings["cert_file"] = json!(pem("dc1-server-consul-0.pem"));
    settings["key_file"] = json!(pem("dc1-server-consul-0-key.pem"));
    settings["verify_incoming_https"] = json!(true);
    let good = || Tls {
        ca_file: pem("consul-agent-ca.pem"),
        client_cert: pem("dc1-client-consul-0.pem"),
        client_key: pem("dc1-client-consul-0-key.pem"),
        server_name: Some("server.dc1.consul".to_owned()),
        verify: true,
    };
    let url = format!("https://{}:{port}", address.ip());
    let made = |tls: Tls| {
        Client::new(&ConsulConfig {
            tls,
            attempts: 1,
            ..config(&url)
        })
    };
    let client = made(good()).unwrap();
    let _agent = agent(&dir, &settings, || block_on(client.nodes()).is_ok());
    let fired = |tls: Tls| fire(&made(tls).unwrap(), &event(NAME, "file:///m.yml"));
    fired(good()).unwrap();
    let refused = |tls: Tls, why: &str| {
        let error = fired(tls).unwrap_err();
        assert!(
            matches!(&error, Error::Unreachable { .. } | Error::NoAnswer { .. }),
            "{why}: {error:?}"
        );
    };
    refused(
        Tls {
            ca_file: Some(stranger.join("consul-agent-ca.pem")),
            ..good()
        },
        "another authority",
    );
    refused(
        Tls {
            server_name: None,
            ..good()
        },
        "the certificate does not name the address",
    );
    refused(
        Tls {
            server_name: Some("other.example".to_owned()),
            ..good()
        },
        "another name",
    );
    refused(
        Tls {
            client_cert: None,
            client_key: None,
            ..good()
        },
        "no client certificate",
    );
    fired(Tls {
        ca_file: None,
        server_name: None,
        verify: false,
        ..good()
    })
    .unwrap();
    // Files that cannot be used are named before anything is sent.
    let error = made(Tls {
        ca_file: Some(PathBuf::from("/nowhere.pem")),
        ..good()
    })
    .unwrap_err();
    assert!(
        matches!(&error, Error::File { .. }) && error.to_string().contains("/nowhere.pem"),
        "{error}"
    );
    let error = made(Tls {
        client_key: None,
        ..good()
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let error = made(Tls {
        ca_file: pem("dc1-client-consul-0-key.pem"),
        ..good()
    })
    .unwrap_err();
    assert!(error.to_string().contains("holds no certificate"), "{error}");
}
