// Acceptance bot on unmodified discord.js: the scenario of README.md.
//
// Takes WEIR_API (http://127.0.0.1:PORT) and WEIR_TOKEN from the environment (the gateway's address comes
// from GET /gateway/bot). Prints one line for each step and, last, one JSON object {ok, library, steps};
// exits 0 only when every step passed.

import net from 'node:net';
import process from 'node:process';

// ---- nothing but loopback: installed before the library is loaded -----------------------------------------

const connects = [];
const violations = [];
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function loopbackOnly(...args) {
  // net.connect passes [options, callback] as one array; a plain call passes (port, host).
  const first = Array.isArray(args[0]) ? args[0][0] : args[0];
  const host = typeof first === 'object' ? (first.host ?? first.path ?? 'localhost') : (args[1] ?? 'localhost');
  connects.push(host);
  if (!['127.0.0.1', '::1'].includes(host)) {
    violations.push(host);
    throw new Error(`acceptance bots may only reach loopback, not ${host}`);
  }
  return connect.apply(this, args);
};

const { ChannelType, Client, Events, GatewayIntentBits, MessageType, Options, version } = await import('discord.js');

// Longest wait for one event or reply. Delivery takes milliseconds; this only bounds a failure.
const WAIT_MS = 30_000;
// Messages of the history step: more than one page of 100, so that paging must join pages.
const HISTORY = 130;
// Messages of the resume step, and how many are sent before the cut. discord.js waits 500 ms before it
// reconnects, so some are missed.
const RESUME_TOTAL = 60;
const RESUME_BEFORE_CUT = 20;

// ---- step bookkeeping -------------------------------------------------------------------------------------

const steps = [];

async function step(name, act) {
  const started = performance.now();
  const seconds = () => Math.round(performance.now() - started) / 1000;
  try {
    const result = await act();
    steps.push({ name, ok: true, seconds: seconds() });
    console.log(`step ${name} ok ${seconds()} s`);
    return result;
  } catch (error) {
    steps.push({ name, ok: false, seconds: seconds(), error: String(error) });
    console.log(`step ${name} FAILED after ${seconds()} s: ${error.stack ?? error}`);
    throw error;
  }
}

function check(condition, message) {
  if (!condition) throw new Error(message);
}

function sameIds(actual, expected, message) {
  check(
    actual.length === expected.length && actual.every((id, index) => id === expected[index]),
    `${message}; expected ${expected.length} ids, got ${actual.length}`,
  );
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${WAIT_MS} ms`)), WAIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Listens from now on, so that an event that overtakes the reply is not missed. The result is awaited later.
function expectEvent(emitter, event, accept = () => true) {
  const seen = new Promise((resolve) => {
    const listener = (...args) => {
      if (!accept(...args)) return;
      emitter.off(event, listener);
      resolve(args);
    };
    emitter.on(event, listener);
  });
  const bounded = within(seen, event);
  // A step that fails before it awaits this must report its own error, not an unhandled rejection.
  bounded.catch(() => {});
  return bounded;
}

// ---- the scenario -----------------------------------------------------------------------------------------

const api = process.env.WEIR_API;
const token = process.env.WEIR_TOKEN;

const client = new Client({
  intents: [
    GatewayIntentBits.Guilds,
    GatewayIntentBits.GuildMessages,
    GatewayIntentBits.GuildMessageReactions,
    GatewayIntentBits.MessageContent,
  ],
  rest: { api: `${api}/api` },
  // Deleted and edited messages must come from the cache as in any bot; the default bound of 200 a channel is
  // enough.
  makeCache: Options.cacheWithLimits(Options.DefaultMakeCacheSettings),
});

const dispatched = new Map();
const messages = [];
client.on(Events.Raw, (packet) => dispatched.set(packet.t, (dispatched.get(packet.t) ?? 0) + 1));
client.on(Events.MessageCreate, (message) => messages.push(message));
client.on(Events.Error, (error) => console.log(`client error: ${error}`));
client.on(Events.ShardError, (error) => console.log(`shard error: ${error}`));

async function scenario() {
  await step('login', async () => {
    const ready = expectEvent(client, Events.ClientReady);
    await within(client.login(token), 'login');
    await ready;
  });

  await step('ready', async () => {
    check(client.user.bot, "READY carries the bot's own user");
    check(client.application.id !== undefined, 'READY carries the application');
    await client.application.fetch();
  });

  const guild = await step('create_guild', async () => {
    const joined = expectEvent(client, Events.GuildCreate);
    // The library dropped its method for this route; its REST client is what bots use.
    const created = await client.rest.post('/guilds', { body: { name: 'acceptance discord.js' } });
    const [guild] = await joined;
    check(guild.id === created.id, 'GUILD_CREATE is for the guild that the reply named');
    check(guild.ownerId === client.user.id, 'the creator owns the guild');
    check(guild.roles.everyone.id === guild.id, "@everyone has the guild's id");
    check(guild.members.me !== null, 'the member list holds the bot');
    return guild;
  });

  const { channel, resuming } = await step('create_channels', async () => {
    const made = expectEvent(client, Events.ChannelCreate, (channel) => channel.name === 'acceptance');
    const category = await guild.channels.create({ name: 'area', type: ChannelType.GuildCategory });
    const channel = await guild.channels.create({ name: 'acceptance', parent: category.id, topic: 'written by a bot' });
    check((await made)[0].id === channel.id, 'CHANNEL_CREATE is for the channel that the reply named');
    const resuming = await guild.channels.create({ name: 'resuming' });
    const listed = await guild.channels.fetch();
    check([category, channel, resuming].every(({ id }) => listed.has(id)), 'the guild lists its new channels');
    const fetched = await client.channels.fetch(channel.id, { force: true });
    check(fetched.parentId === category.id, 'the channel keeps its parent');
    return { channel, resuming };
  });

  const { sent, reply } = await step('send', async () => {
    const seen = expectEvent(client, Events.MessageCreate, (message) => message.content === 'hello, Wörld 👋');
    const sent = await channel.send('hello, Wörld 👋');
    const [received] = await seen;
    check(received.id === sent.id, 'MESSAGE_CREATE carries the id of the reply');
    check(received.author.id === client.user.id, 'MESSAGE_CREATE carries its author');
    check(received.member !== null, "MESSAGE_CREATE carries the author's member");
    const reply = await sent.reply('a reply');
    check(reply.reference?.messageId === sent.id, 'a reply names its message');
    return { sent, reply };
  });

  await step('edit', async () => {
    const changed = expectEvent(client, Events.MessageUpdate, (_, message) => message.id === sent.id && message.content === 'hello again');
    const edited = await sent.edit('hello again');
    check(edited.content === 'hello again' && edited.editedTimestamp !== null, 'the reply shows the edit');
    await changed;
    const fetched = await channel.messages.fetch({ message: sent.id, force: true, cache: false });
    check(fetched.content === 'hello again', 'the database shows the edit');
  });

  await step('reactions', async () => {
    const expectReaction = (event) => expectEvent(client, event, (reaction) => reaction.message.id === sent.id);
    const fetched = () => channel.messages.fetch({ message: sent.id, force: true, cache: false });

    const added = expectReaction(Events.MessageReactionAdd);
    await sent.react('👍');
    const [reaction, user] = await added;
    check(reaction.emoji.name === '👍' && user.id === client.user.id, 'MESSAGE_REACTION_ADD says who and with what');
    await sent.react('❤️');
    const shown = (await fetched()).reactions.cache;
    const counts = shown.map(({ emoji, count, me }) => `${emoji.name} ${count} ${me}`).join();
    check(counts === '👍 1 true,❤️ 1 true', `the message shows both reactions, not ${counts}`);
    const users = await shown.get('👍').users.fetch();
    sameIds([...users.keys()], [client.user.id], 'the users of an emoji are listed');

    const removed = expectReaction(Events.MessageReactionRemove);
    await shown.get('👍').users.remove();
    check((await removed)[0].emoji.name === '👍', 'MESSAGE_REACTION_REMOVE names the emoji');
    const emptied = expectReaction(Events.MessageReactionRemoveEmoji);
    await shown.get('❤️').remove();
    check((await emptied)[0].emoji.name === '❤️', 'MESSAGE_REACTION_REMOVE_EMOJI names the emoji');
    await sent.react('👍');
    const cleared = expectEvent(client, Events.MessageReactionRemoveAll, (message) => message.id === sent.id);
    await sent.reactions.removeAll();
    await cleared;
    check((await fetched()).reactions.cache.size === 0, 'no reaction is left');
  });

  await step('pins', async () => {
    const updated = expectEvent(client, Events.ChannelPinsUpdate, (where) => where.id === channel.id);
    const told = expectEvent(client, Events.MessageCreate, (message) => message.type === MessageType.ChannelPinnedMessage);
    await sent.pin();
    await updated;
    const [notice] = await told;
    check(notice.reference.messageId === sent.id, 'a message tells of the pin');
    const listed = await channel.messages.fetchPins();
    check(!listed.hasMore && listed.items.length === 1, 'the pin is listed');
    check(listed.items[0].message.id === sent.id && listed.items[0].message.pinned, 'the list shows the message');
    await sent.unpin();
    check((await channel.messages.fetchPins()).items.length === 0, 'no pin is left');
    await notice.delete();
  });

  await step('delete', async () => {
    const gone = expectEvent(client, Events.MessageDelete, (message) => message.id === sent.id);
    await sent.delete();
    await gone;
    const error = await channel.messages.fetch({ message: sent.id, force: true }).then(
      () => undefined,
      (error) => error,
    );
    check(error?.code === 10008, `a deleted message is 10008, not ${error?.code}`);
    await reply.delete();
  });

  await step('history', async () => {
    const ids = [];
    for (let number = 0; number < HISTORY; number += 1) ids.push((await channel.send(`history ${number}`)).id);
    const page = async (query) => [...(await channel.messages.fetch({ cache: false, ...query })).keys()];
    const newestFirst = (from, to) => ids.slice(from, to).reverse();

    const everything = [];
    let before;
    for (;;) {
      const next = await page({ limit: 100, before });
      everything.push(...next);
      if (next.length < 100) break;
      before = next.at(-1);
    }
    sameIds(everything, newestFirst(0, HISTORY), 'all pages together are all messages, newest first');
    sameIds(await page({ limit: 100, before: ids[110] }), newestFirst(10, 110), 'before: the 100 newest below the anchor');
    sameIds(await page({ limit: 50, after: ids[49] }), newestFirst(50, 100), 'after: the 50 oldest above the anchor, newest first');
    sameIds(await page({ limit: 21, around: ids[60] }), newestFirst(50, 71), 'around: ten on each side and the anchor');
  });

  await step('resume', () => resumeWithoutGap(resuming));

  await step('loopback_only', async () => {
    check(connects.length > 0, "the guard saw the bot's connections");
    check(violations.length === 0, `connections outside loopback were tried: ${violations}`);
  });
}

async function resumeWithoutGap(channel) {
  const readyBefore = dispatched.get('READY');
  const resumedBefore = dispatched.get('RESUMED') ?? 0;
  const posted = [];
  const resumed = expectEvent(client, Events.ShardResume);

  while (posted.length < RESUME_TOTAL) {
    // Another REST caller: plain fetch, on a connection of its own.
    const response = await fetch(`${api}/api/v10/channels/${channel.id}/messages`, {
      method: 'POST',
      headers: { authorization: `Bot ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ content: `resume ${posted.length}` }),
    });
    const reply = await response.json();
    if (response.status === 429) {
      await pause(reply.retry_after * 1000);
      continue;
    }
    check(response.status === 200, `POST failed with ${response.status}: ${JSON.stringify(reply)}`);
    posted.push(reply.id);
    if (posted.length === RESUME_BEFORE_CUT) cut();
    // Sending is spread over more than the library's 500 ms, so that some are missed and some arrive after
    // the resume.
    if (posted.length > RESUME_BEFORE_CUT) await pause(30);
  }
  await resumed;

  // A last message after everything else: once it arrives, any repeated message has arrived too.
  const last = expectEvent(client, Events.MessageCreate, (message) => message.content === 'resume end');
  await channel.send('resume end');
  await last;
  const received = messages.filter((message) => message.channelId === channel.id).map(({ id }) => id).slice(0, -1);
  check(dispatched.get('RESUMED') === resumedBefore + 1, 'the session was resumed once');
  check(dispatched.get('READY') === readyBefore, 'no fresh session was begun');
  sameIds(received, posted, 'every message once and in order');
}

// Resets the TCP connection under the WebSocket: there is no close frame, and bytes on their way are lost.
function cut() {
  client.ws._ws.strategy.shards.get(0).connection._socket.resetAndDestroy();
}

try {
  await scenario();
} catch (error) {
  if (steps.every(({ ok }) => ok)) steps.push({ name: 'run', ok: false, seconds: 0, error: String(error) });
} finally {
  await client.destroy();
}
const ok = steps.every((entry) => entry.ok);
console.log(JSON.stringify({ ok, library: `discord.js ${version}`, steps }));
process.exit(ok ? 0 : 1);
