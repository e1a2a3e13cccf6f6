//! Events posted over HTTP: one request an event, whose body is the event in JSON with the machine and the store.
//!
//! An answer of 200 to 299 is success; redirections are not followed, and what the answer holds is not read.

use std::time::Duration;

use serde_json::json;
use ureq::{
    Agent,
    tls::{RootCerts, TlsConfig, TlsProvider},
};

use super::{Carrier, Failure, Parcel, message::clean};

/// Longest time for a request.
const PATIENCE: Duration = Duration::from_secs(20);

/// Carries events to a webhook.
#[derive(Debug)]
pub struct Post {
    agent: Agent,
}

impl Default for Post {
    fn default() -> Self {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::NativeTls)
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .max_redirects_will_error(true)
            .max_response_header_size(16 << 10)
            .user_agent(concat!("headstack/", env!("CARGO_PKG_VERSION")))
            .proxy(None)
            .tls_config(tls)
            .build();
        Self { agent: config.into() }
    }
}

impl Carrier for Post {
    fn carry(&self, parcel: &Parcel) -> Result<(), Failure> {
        let Some(webhook) = &parcel.wishes.webhook else {
            return Ok(());
        };
        for event in &parcel.events {
            let mut body = event.facts();
            body["host"] = json!(parcel.origin.host);
            body["store"] = json!(parcel.origin.store);
            if parcel.left_out > 0 {
                body["left_out"] = json!(parcel.left_out);
            }
            let request = self.agent.post(&webhook.url).content_type("application/json");
            let answered = request.send(body.to_string());
            answered.map_err(|error| Failure::of_server(clean(&format!("the webhook {}: {error}", webhook.url))))?;
        }
        Ok(())
    }
}
