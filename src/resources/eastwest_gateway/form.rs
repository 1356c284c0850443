//! Who makes a gateway's Pods and its Service, and what cannot be said then.

use super::model::Gateway;
use crate::kept::objects;
use crate::mesh::made_name;
use crate::resources::parsing::Parser;

/// Who makes its Pods and its Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// This provider, by Istio's chart.
    Chart,
    /// istiod, from a Gateway of the Gateway API.
    GatewayApi,
    /// The same for ambient mode.
    Ambient,
}

/// The longest name of a Service.
const LONGEST_NAME: usize = 63;

impl Form {
    /// While one of the attributes is unknown, the parser decides nothing.
    pub fn parse(parser: &mut Parser, model: &Gateway) -> Form {
        let _ = (parser.plain(&model.ambient), parser.plain(&model.gateway_api));
        Form::of(model)
    }

    /// As a model says it whose attributes are known.
    pub fn of(model: &Gateway) -> Form {
        match (model.ambient.get() == Some(true), model.gateway_api.get() == Some(true)) {
            (true, _) => Form::Ambient,
            (_, true) => Form::GatewayApi,
            _ => Form::Chart,
        }
    }

    pub fn has_chart(self) -> bool {
        self == Form::Chart
    }

    /// The attribute by which a gateway is made by istiod.
    pub fn attribute(self) -> &'static str {
        if self == Form::Ambient { "ambient" } else { "gateway_api" }
    }

    /// What its Deployment and its Service are called, where there is a Service that counts.
    pub fn called(self, name: &str) -> String {
        match self {
            Form::GatewayApi => made_name(name),
            Form::Chart | Form::Ambient => name.to_owned(),
        }
    }
}

/// A state from before istiod could make a gateway for sidecars: what no state says would be a change, and replace it.
pub fn upgraded(from: i64, state: serde_json::Value) -> serde_json::Value {
    let mut state = if from == 0 { objects::upgraded(state) } else { state };
    if let Some(attributes) = state.as_object_mut() {
        attributes.insert("gateway_api".to_owned(), false.into());
    }
    state
}

/// Refuses what has no effect on, or no place in, a gateway of this form. `exposes` where anything is to be let
/// through.
pub fn refuse(parser: &mut Parser, model: &Gateway, form: Form, exposes: bool) {
    match form {
        Form::Chart => {}
        Form::Ambient => with_ambient(parser, model, exposes),
        Form::GatewayApi => with_gateway_api(parser, model),
    }
}

fn with_ambient(parser: &mut Parser, model: &Gateway, exposes: bool) {
    let without = |what: &str| {
        format!(
            "{what} With `ambient = true` istiod makes the gateway's Deployment and Service from a Gateway API resource."
        )
    };
    if model.gateway_api.get() == Some(true) {
        parser.refuse(
            "gateway_api",
            "Not for ambient gateways",
            without("It is for gateways of sidecars: leave `gateway_api` out."),
        );
    }
    if model.service.is_known() {
        parser.refuse("service", "Not for ambient gateways", without("The Service is not configurable here."));
    }
    if model.values.is_known() {
        parser.refuse("values", "Not for ambient gateways", without("No chart is rendered."));
    }
    if exposes {
        parser.refuse(
            "expose",
            "Not for ambient gateways",
            without("Services are exposed by their label `istio.io/global`; ambient mode supports no remote control plane, and this gateway no API server."),
        );
    }
}

fn with_gateway_api(parser: &mut Parser, model: &Gateway) {
    if model.values.is_known() {
        parser.refuse(
            "values",
            "Not for gateways that istiod makes",
            "No chart is rendered: with `gateway_api = true` istiod makes the gateway's Deployment and Service from a Gateway API resource. Leave `values` out.",
        );
    }
    let name = made_name(model.name.text());
    if name.len() > LONGEST_NAME {
        parser.refuse(
            "name",
            "Too long for a gateway that istiod makes",
            format!(
                "istiod would call its Service {name:?}, and a Service's name has {LONGEST_NAME} characters at most. Choose a name of {} or fewer.",
                LONGEST_NAME + model.name.text().len() - name.len()
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_of_before_is_no_change() {
        let state = upgraded(1, json!({"ambient": false, "name": "door"}));
        assert_eq!(state, json!({"ambient": false, "gateway_api": false, "name": "door"}));
    }
}
