"""Acceptance bot on unmodified discord.py.

Takes WEIR_API (http://127.0.0.1:PORT), WEIR_GATEWAY (ws://127.0.0.1:PORT) and WEIR_TOKEN from the
environment. Prints one line for each step and, last, one JSON object {"ok", "library", "steps"}; exits 0 only
when every step passed. The same scenario is written for discord.js and twilight beside this file; README.md
describes it in prose.

The library is not modified. Only its two base addresses are set, as is the custom, and the connect method of
one *instance* is wrapped so that a reconnect waits until messages have been missed.
"""

import asyncio
import json
import os
import socket
import struct
import sys
import time
from contextlib import asynccontextmanager

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

# Longest wait for one event or reply. Delivery takes milliseconds; this only bounds a failure.
WAIT_SECONDS = 30
# Messages of the history step: more than one page of 100, so that paging must join pages.
HISTORY = 130
# Messages of the resume step, and how many of them are sent before the cut, and while the bot is away.
RESUME_TOTAL, RESUME_BEFORE_CUT, RESUME_MISSED = 60, 20, 15

# ---- nothing but loopback ----------------------------------------------------------------------------------

connects: list[str] = []
violations: list[str] = []


def loopback_only(event: str, args: tuple) -> None:
    """Audit hook. Python calls it before every connect and name look-up; an exception forbids the call."""
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    connects.append(str(host))
    if host not in ("127.0.0.1", "::1"):
        violations.append(str(host))
        raise PermissionError(f"acceptance bots may only reach loopback, not {host}")


sys.addaudithook(loopback_only)

# ---- step bookkeeping --------------------------------------------------------------------------------------

steps: list[dict] = []


@asynccontextmanager
async def step(name: str):
    started = time.monotonic()
    try:
        yield
    except BaseException as error:
        seconds = round(time.monotonic() - started, 3)
        steps.append({"name": name, "ok": False, "seconds": seconds, "error": f"{type(error).__name__}: {error}"})
        print(f"step {name} FAILED after {seconds} s: {type(error).__name__}: {error}", flush=True)
        raise
    seconds = round(time.monotonic() - started, 3)
    steps.append({"name": name, "ok": True, "seconds": seconds})
    print(f"step {name} ok {seconds} s", flush=True)


def check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


# ---- the bot -----------------------------------------------------------------------------------------------


class Bot(discord.Client):
    """Records what the gateway delivered, in the order in which the library reported it."""

    def __init__(self) -> None:
        intents = discord.Intents.default()
        intents.message_content = True
        super().__init__(intents=intents)
        self.events: dict[str, int] = {}
        self.messages: list[discord.Message] = []

    async def on_socket_event_type(self, event: str) -> None:
        self.events[event] = self.events.get(event, 0) + 1

    async def on_message(self, message: discord.Message) -> None:
        self.messages.append(message)

    def expect(self, event: str, accept=lambda *_: True):
        """Registers the listener now, so that an event that overtakes the reply is not missed. The result is
        awaited later."""
        waiting = self.wait_for(event, check=accept, timeout=WAIT_SECONDS)

        async def named():
            try:
                return await waiting
            except asyncio.TimeoutError:
                raise AssertionError(f"no {event} within {WAIT_SECONDS} s") from None

        return named()


async def scenario(bot: Bot, api: str, token: str) -> None:
    async with step("ready"):
        await asyncio.wait_for(bot.wait_until_ready(), WAIT_SECONDS)
        check(bot.user is not None and bot.user.bot, "READY carries the bot's own user")
        check(bot.application_id is not None, "READY carries the application")

    async with step("create_guild"):
        joined = bot.expect("guild_join")
        # The library dropped its method for this route; its raw request is what bots use.
        created = await bot.http.request(Route("POST", "/guilds"), json={"name": "acceptance discord.py"})
        guild = await joined
        check(str(guild.id) == created["id"], "GUILD_CREATE is for the guild that the reply named")
        check(guild.owner_id == bot.user.id, "the creator owns the guild")
        check(guild.default_role.id == guild.id, "@everyone has the guild's id")
        check(guild.me is not None, "the member list holds the bot")

    async with step("create_channels"):
        made = bot.expect("guild_channel_create", lambda channel: channel.name == "acceptance")
        category = await guild.create_category("area")
        channel = await guild.create_text_channel("acceptance", category=category, topic="written by a bot")
        check((await made).id == channel.id, "CHANNEL_CREATE is for the channel that the reply named")
        resuming = await guild.create_text_channel("resuming")
        listed = {other.id for other in await guild.fetch_channels()}
        check({category.id, channel.id, resuming.id} <= listed, "the guild lists its new channels")
        check((await bot.fetch_channel(channel.id)).category_id == category.id, "the channel keeps its parent")

    async with step("send"):
        seen = bot.expect("message", lambda message: message.content == "hello, Wörld 👋")
        sent = await channel.send("hello, Wörld 👋")
        received = await seen
        check(received.id == sent.id, "MESSAGE_CREATE carries the id of the reply")
        check(received.author.id == bot.user.id, "MESSAGE_CREATE carries its author")
        check(isinstance(received.author, discord.Member), "MESSAGE_CREATE carries the author's member")
        reply = await sent.reply("a reply")
        check(reply.reference is not None and reply.reference.message_id == sent.id, "a reply names its message")

    async with step("edit"):
        changed = bot.expect("raw_message_edit", lambda event: event.message_id == sent.id)
        edited = await sent.edit(content="hello again")
        check(edited.content == "hello again" and edited.edited_at is not None, "the reply shows the edit")
        check((await changed).data["content"] == "hello again", "MESSAGE_UPDATE shows the edit")
        check((await channel.fetch_message(sent.id)).content == "hello again", "the database shows the edit")

    async with step("reactions"):
        await react(bot, channel, sent)

    async with step("pins"):
        pins = bot.expect("guild_channel_pins_update", lambda where, _at: where.id == channel.id)
        told = bot.expect("message", lambda message: message.type is discord.MessageType.pins_add)
        await sent.pin()
        check((await pins)[1] is not None, "CHANNEL_PINS_UPDATE names the newest pin")
        notice = await told
        check(notice.reference is not None and notice.reference.message_id == sent.id, "a message tells of the pin")
        listed = [message async for message in channel.pins()]
        check([message.id for message in listed] == [sent.id] and listed[0].pinned, "the pin is listed")
        check(listed[0].pinned_at is not None, "the list says when it was pinned")
        unpinned = bot.expect("guild_channel_pins_update", lambda where, _at: where.id == channel.id)
        await sent.unpin()
        check((await unpinned)[1] is None, "CHANNEL_PINS_UPDATE says that none is left")
        check([message async for message in channel.pins()] == [], "no pin is left")
        await notice.delete()

    async with step("delete"):
        gone = bot.expect("raw_message_delete", lambda event: event.message_id == sent.id)
        await sent.delete()
        await gone
        try:
            await channel.fetch_message(sent.id)
        except discord.NotFound as error:
            check(error.code == 10008, f"a deleted message is 10008, not {error.code}")
        else:
            raise AssertionError("a deleted message can still be fetched")
        await reply.delete()

    async with step("history"):
        ids = [(await channel.send(f"history {number}")).id for number in range(HISTORY)]
        everything = [message.id async for message in channel.history(limit=None)]
        check(everything == ids[::-1], "all pages together are all messages, newest first")
        before = [message.id async for message in channel.history(limit=100, before=discord.Object(ids[110]))]
        check(before == ids[10:110][::-1], "before: the 100 newest below the anchor")
        after = [message.id async for message in channel.history(limit=50, after=discord.Object(ids[49]))]
        check(after == ids[50:100], "after: the 50 oldest above the anchor")
        around = [message.id async for message in channel.history(limit=21, around=discord.Object(ids[60]))]
        check(sorted(around) == ids[50:71], "around: ten on each side and the anchor")

    async with step("resume"):
        await resume_without_gap(bot, resuming, api, token)

    async with step("loopback_only"):
        check(len(connects) > 0, "the guard saw the bot's connections")
        check(not violations, f"connections outside loopback were tried: {violations}")


async def react(bot: Bot, channel: discord.TextChannel, message: discord.Message) -> None:
    def expect(event: str):
        return bot.expect(event, lambda payload: payload.message_id == message.id)

    added = expect("raw_reaction_add")
    await message.add_reaction("👍")
    event = await added
    check(str(event.emoji) == "👍" and event.user_id == bot.user.id, "MESSAGE_REACTION_ADD says who and with what")
    check(event.member is not None, "MESSAGE_REACTION_ADD carries the member")
    check(event.message_author_id == bot.user.id, "MESSAGE_REACTION_ADD says whose message it is")
    await message.add_reaction("❤️")
    fetched = await channel.fetch_message(message.id)
    counts = [(str(reaction.emoji), reaction.count, reaction.me) for reaction in fetched.reactions]
    check(counts == [("👍", 1, True), ("❤️", 1, True)], f"the message shows both reactions, not {counts}")
    users = [user.id async for user in fetched.reactions[0].users()]
    check(users == [bot.user.id], f"the users of an emoji are listed, not {users}")

    removed = expect("raw_reaction_remove")
    await message.remove_reaction("👍", bot.user)
    check(str((await removed).emoji) == "👍", "MESSAGE_REACTION_REMOVE names the emoji")
    cleared = expect("raw_reaction_clear_emoji")
    await message.clear_reaction("❤️")
    check(str((await cleared).emoji) == "❤️", "MESSAGE_REACTION_REMOVE_EMOJI names the emoji")
    await message.add_reaction("👍")
    cleared = expect("raw_reaction_clear")
    await message.clear_reactions()
    await cleared
    check((await channel.fetch_message(message.id)).reactions == [], "no reaction is left")


async def resume_without_gap(bot: Bot, channel: discord.TextChannel, api: str, token: str) -> None:
    ready_before, resumed_before = bot.events.get("READY", 0), bot.events.get("RESUMED", 0)
    posted: list[int] = []
    cut_due, return_due = asyncio.Event(), asyncio.Event()

    async def post_all() -> None:
        headers = {"Authorization": f"Bot {token}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            while len(posted) < RESUME_TOTAL:
                body = {"content": f"resume {len(posted)}"}
                async with session.post(f"{api}/api/v10/channels/{channel.id}/messages", json=body) as response:
                    reply = await response.json()
                    if response.status == 429:
                        await asyncio.sleep(reply["retry_after"])
                        continue
                    check(response.status == 200, f"POST failed with {response.status}: {reply}")
                posted.append(int(reply["id"]))
                if len(posted) == RESUME_BEFORE_CUT:
                    cut_due.set()
                if len(posted) == RESUME_BEFORE_CUT + RESUME_MISSED:
                    return_due.set()

    connect = bot.http.ws_connect

    async def connect_when_due(*args, **kwargs):
        await return_due.wait()
        return await connect(*args, **kwargs)

    bot.http.ws_connect = connect_when_due
    resumed = bot.expect("resumed")
    poster = asyncio.create_task(post_all())
    done, _ = await asyncio.wait(
        {poster, asyncio.create_task(cut_due.wait())}, timeout=WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    check(bool(done) and not (poster.done() and poster.exception()), f"the other caller posts: {poster}")
    cut(bot)
    await asyncio.wait_for(poster, 4 * WAIT_SECONDS)
    await resumed

    # A last message after everything else: once it arrives, any repeated message has arrived too.
    last = bot.expect("message", lambda message: message.content == "resume end")
    await channel.send("resume end")
    await last
    received = [message.id for message in bot.messages if message.channel.id == channel.id][:-1]
    check(bot.events.get("RESUMED", 0) == resumed_before + 1, "the session was resumed once")
    check(bot.events.get("READY", 0) == ready_before, "no fresh session was begun")
    missing, extra = set(posted) - set(received), len(received) - len(set(received))
    check(received == posted, f"every message once and in order; missing {len(missing)}, repeated {extra}")


def cut(bot: Bot) -> None:
    """Resets the TCP connection under the WebSocket: without a close frame, and bytes on their way are lost."""
    stream = bot.ws.socket
    stream.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream._response.connection.transport.abort()


async def main() -> bool:
    api, gateway, token = (os.environ[name] for name in ("WEIR_API", "WEIR_GATEWAY", "WEIR_TOKEN"))
    Route.BASE = f"{api}/api/v10"
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)
    bot = Bot()
    async with bot:
        try:
            async with step("login"):
                await asyncio.wait_for(bot.login(token), WAIT_SECONDS)
            running = asyncio.create_task(bot.connect())
            acting = asyncio.create_task(scenario(bot, api, token))
            done, _ = await asyncio.wait({running, acting}, return_when=asyncio.FIRST_COMPLETED)
            if running in done:
                acting.cancel()
                running.result()
                raise AssertionError("the library gave up its connection")
            acting.result()
        except Exception as error:  # reported by its step; anything before the first step is reported here
            if all(entry["ok"] for entry in steps):
                steps.append({"name": "run", "ok": False, "seconds": 0, "error": f"{type(error).__name__}: {error}"})
    return all(entry["ok"] for entry in steps)


if __name__ == "__main__":
    discord.utils.setup_logging()
    passed = asyncio.run(main())
    print(json.dumps({"ok": passed, "library": f"discord.py {discord.__version__}", "steps": steps}))
    sys.exit(0 if passed else 1)
