//! The Connect methods: decode, check the form, call a path, encode. No policy.

/// Adds methods of a service to a router. Each gets the [`Paths`], the call's context and its request.
macro_rules! methods {
    ($router:expr, $paths:expr, $service:literal: $($name:literal => $handler:ident),+ $(,)?) => {{
        let router = $router;
        $(
            let its = $paths.clone();
            let router = router.unary(concat!("/", $service, "/", $name), move |context, request| {
                $handler(its.clone(), context, request)
            });
        )+
        router
    }};
}

pub mod admin;
mod alter;
pub mod call;
pub mod error;
pub mod error_metrics;
mod form;
mod founders;
pub mod guild;
pub mod import;
pub mod message;
pub mod not_ready;
mod overwrites;
pub(crate) mod owned;
mod pin;
mod reaction;
pub mod user;

use std::sync::Arc;

use weir_connect::Router;

use self::call::Paths;

/// The methods of `weir.data.v1`.
pub(crate) fn data(paths: &Paths) -> Router {
    let of_messages = [message::methods, pin::methods, reaction::methods];
    let router = Router::new(weir_proto::contract()).keep_json(Arc::clone(&paths.json));
    let router = of_messages.into_iter().fold(router, |router, add| add(router, paths));
    router.merge(user::router(paths)).merge(guild::router(paths))
}

/// The methods of `weir.admin.v1`.
pub(crate) fn admin(paths: &Paths) -> Router {
    admin::router(paths).merge(import::router(paths))
}
