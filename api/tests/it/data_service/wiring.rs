//! Paths to methods.

use weir_connect::{Reply, Router};

use super::DataService;

macro_rules! routes {
    ($service:expr; $($package:literal: $($rpc:ident $method:ident;)*)*) => {{
        let mut router = Router::new(weir_proto::contract());
        $($({
            let service = $service.clone();
            router = router.unary(concat!("/weir.data.v1.", $package, "/", stringify!($rpc)), move |context, request| {
                let service = service.clone();
                async move {
                    service.pass(stringify!($rpc)).await;
                    let mut world = service.world();
                    world.note(&context.headers);
                    let answer = world.begin(stringify!($rpc)).and_then(|()| world.$method(request))?;
                    world.answered += prost::Message::encoded_len(&answer);
                    Ok(Reply::message(answer))
                }
            });
        })*)*
        router
    }};
}

pub(super) fn router(service: &DataService) -> Router {
    routes! { service;
        "MessageService":
            ListMessages list_messages;
            GetMessage get_message;
            CreateMessage create_message;
            EditMessage edit_message;
            DeleteMessage delete_message;
            DeleteMessages delete_messages;
            SetPinned set_pinned;
            ListPins list_pins;
            AddReaction add_reaction;
            RemoveReaction remove_reaction;
            ClearReactions clear_reactions;
            ListReactions list_reactions;
            Typing typing;
        "UserService":
            GetUsers get_users;
            ResolveToken resolve_token;
            OpenDirect open_direct;
        "GuildService":
            CreateGuild create_guild;
            GetGuild get_guild;
            DeleteGuild delete_guild;
            ListUserGuilds list_user_guilds;
            PutChannel put_channel;
            DeleteChannel delete_channel;
            PutRole put_role;
            DeleteRole delete_role;
            PutMember put_member;
            UpdateMember update_member;
            DeleteMember delete_member;
            ListMembers list_members;
            GetMember get_member;
            GetChannelContext get_channel_context;
            ViewPage view_page;
    }
}
