//! Fuzzes ids and every message of the contract, which are also what the store and the bus hold. For any
//! bytes nothing panics, nothing grows beyond the input, and a message that was read is written and read
//! again alike.

use prost::{Message, Name};
use weir_fuzz::{CASES_DEFAULT, binary, filled, run, text};

use crate::{
    admin, contract, data, event,
    id::{ChannelId, Snowflake},
};

/// Messages with fields of their own. Each gets its part of the inputs.
const TYPES: u32 = 30;

fn decodes<M: Name + Default>() {
    let name = M::full_name();
    let shape = contract().get_message_by_name(&name).expect("of the contract");
    let valid = filled(&shape).encode_to_vec();
    let whole = M::decode(valid.as_slice()).expect("a filled message is valid");
    assert!(whole.encoded_len() > 0, "{name}");
    run(&format!("protobuf {name}"), CASES_DEFAULT / TYPES, &binary([valid]), |input| {
        let Ok(read) = M::decode(input.as_slice()) else { return };
        let written = read.encode_to_vec();
        // A negative number of 32 bits may be read from five bytes and is written in ten.
        assert!(written.len() <= 2 * input.len(), "{} bytes from {}", written.len(), input.len());
        let again = M::decode(written.as_slice()).expect("what was written is read");
        // They are compared by their bytes, because a number may be NaN, which is not equal to itself.
        assert_eq!(again.encode_to_vec(), written);
    });
}

macro_rules! decode_each {
    ($($package:ident: $($message:ident)+;)+) => {
        #[test]
        fn messages_rows_and_records() {
            $($(decodes::<$package::$message>();)+)+
        }
    };
}

decode_each! {
    data: Message EventContext User Member Guild Overwrite Channel Role GuildState Basis Refusal ListMessagesRequest
        ListMessagesResponse CreateMessageRequest EditMessageRequest DeleteMessagesRequest ListChangesResponse
        ImportMessagesRequest CreateUserRequest CreateGuildRequest PutChannelRequest UpdateMemberRequest
        GetChannelContextResponse;
    event: Record MessagesDeleted GuildCreated;
    admin: Limit LimitChange BeginImportRequest WriteImportRequest;
}

#[test]
fn snowflakes() {
    run("snowflake", CASES_DEFAULT, &text(["175928847299117063", "18446744073709551615", "1"]), |input| {
        let Ok(input) = String::from_utf8(input) else { return };
        let Ok(id) = input.parse::<Snowflake>() else { return };
        assert!(id.get() != 0 && input.bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(input.parse::<ChannelId>().map(ChannelId::get), Ok(id.get()));
        assert_eq!(Snowflake::from_parts(id.unix_ms(), id.worker(), id.sequence()), Some(id));
    });
}
