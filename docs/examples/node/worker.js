"use strict";
// A bot in Node.js that takes over from a Python worker, and hands back to one.
//
// It follows, leads, yields, guards and recovers as protocol.md says. The bot itself is at the end. Above it is what every
// worker needs: msgpack, BLAKE2b, the lease, the journal, the state, the sockets, and the seat. Packages: zeromq (with
// CURVE), and koffi, by which Node calls fcntl() for the lease: only the process that leads may hold that lock.
//
// Left out: decisions, windows, settings, feeds, streams with numbers, the final-frame socket, and events of its own. What
// other workers put into the state (cells, tables, settings, positions in feeds) is kept and passed on as it is.

const crypto = require("crypto");
const fs = require("fs");
const path = require("path");
const zlib = require("zlib");
const koffi = require("koffi");
const zmq = require("zeromq");

// --- msgpack ---------------------------------------------------------------------------------------------------------
// Integers of 64 bits are BigInt where a number would not be exact; all times in nanoseconds are.

function pack(value) {
  const parts = [];
  const put = (size, tag, write) => {
    const head = Buffer.alloc(1 + size);
    head[0] = tag;
    write?.(head);
    parts.push(head);
  };
  const sized = (count, tags) => {
    if (tags.fix !== undefined && count < tags.most) put(0, tags.fix | count);
    else if (tags.one !== undefined && count < 0x100) put(1, tags.one, (head) => head.writeUInt8(count, 1));
    else if (count < 0x10000) put(2, tags.two, (head) => head.writeUInt16BE(count, 1));
    else put(4, tags.four, (head) => head.writeUInt32BE(count, 1));
  };
  const integer = (n) => {
    if (n >= 0n) {
      if (n < 0x80n) put(0, Number(n));
      else if (n < 0x100n) put(1, 0xcc, (head) => head.writeUInt8(Number(n), 1));
      else if (n < 0x10000n) put(2, 0xcd, (head) => head.writeUInt16BE(Number(n), 1));
      else if (n < 0x100000000n) put(4, 0xce, (head) => head.writeUInt32BE(Number(n), 1));
      else put(8, 0xcf, (head) => head.writeBigUInt64BE(n, 1));
    } else if (n >= -32n) put(0, Number(n) & 0xff);
    else put(8, 0xd3, (head) => head.writeBigInt64BE(n, 1));
  };
  const add = (value) => {
    if (value === null || value === undefined) put(0, 0xc0);
    else if (typeof value === "boolean") put(0, value ? 0xc3 : 0xc2);
    else if (typeof value === "bigint") integer(value);
    else if (typeof value === "number") {
      if (Number.isSafeInteger(value)) integer(BigInt(value));
      else put(8, 0xcb, (head) => head.writeDoubleBE(value, 1));
    } else if (typeof value === "string") {
      const text = Buffer.from(value);
      sized(text.length, { fix: 0xa0, most: 32, one: 0xd9, two: 0xda, four: 0xdb });
      parts.push(text);
    } else if (Buffer.isBuffer(value)) {
      sized(value.length, { one: 0xc4, two: 0xc5, four: 0xc6 });
      parts.push(value);
    } else if (Array.isArray(value)) {
      sized(value.length, { fix: 0x90, most: 16, two: 0xdc, four: 0xdd });
      value.forEach(add);
    } else {
      const entries = value instanceof Map ? [...value] : Object.entries(value);
      sized(entries.length, { fix: 0x80, most: 16, two: 0xde, four: 0xdf });
      for (const [key, item] of entries) add(key), add(item);
    }
  };
  add(value);
  return Buffer.concat(parts);
}

function unpack(data) {
  let at = 0;
  const take = (size) => {
    if (at + size > data.length) throw new Error("msgpack ends too early");
    return data.subarray(at, (at += size));
  };
  const exact = (n) => (n >= Number.MIN_SAFE_INTEGER && n <= Number.MAX_SAFE_INTEGER ? Number(n) : n);
  const many = (count) => Array.from({ length: count }, next);
  const map = (count) => {
    const entries = many(2 * count);
    return new Map(Array.from({ length: count }, (_, i) => [entries[2 * i], entries[2 * i + 1]]));
  };
  const text = (size) => take(size).toString("utf8");
  function next() {
    const tag = take(1)[0];
    if (tag < 0x80) return tag;
    if (tag < 0x90) return map(tag & 15);
    if (tag < 0xa0) return many(tag & 15);
    if (tag < 0xc0) return text(tag & 31);
    if (tag >= 0xe0) return tag - 256;
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return take(take(1)[0]);
      case 0xc5: return take(take(2).readUInt16BE());
      case 0xc6: return take(take(4).readUInt32BE());
      case 0xca: return take(4).readFloatBE();
      case 0xcb: return take(8).readDoubleBE();
      case 0xcc: return take(1)[0];
      case 0xcd: return take(2).readUInt16BE();
      case 0xce: return take(4).readUInt32BE();
      case 0xcf: return exact(take(8).readBigUInt64BE());
      case 0xd0: return take(1).readInt8();
      case 0xd1: return take(2).readInt16BE();
      case 0xd2: return take(4).readInt32BE();
      case 0xd3: return exact(take(8).readBigInt64BE());
      case 0xd9: return text(take(1)[0]);
      case 0xda: return text(take(2).readUInt16BE());
      case 0xdb: return text(take(4).readUInt32BE());
      case 0xdc: return many(take(2).readUInt16BE());
      case 0xdd: return many(take(4).readUInt32BE());
      case 0xde: return map(take(2).readUInt16BE());
      case 0xdf: return map(take(4).readUInt32BE());
      default: throw new Error(`msgpack tag ${tag} is not used by neverblink`);
    }
  }
  const value = next();
  if (at !== data.length) throw new Error("bytes after the end of a msgpack value");
  return value;
}

// --- BLAKE2b with an output of 16 bytes (RFC 7693) -------------------------------------------------------------------
// Node's own has 64 bytes only, and the length is part of what is hashed. 64-bit words are pairs: low, high.

const SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4], [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13], [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11], [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5], [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
];
const IV = new Uint32Array([
  0xf3bcc908, 0x6a09e667, 0x84caa73b, 0xbb67ae85, 0xfe94f82b, 0x3c6ef372, 0x5f1d36f1, 0xa54ff53a,
  0xade682d1, 0x510e527f, 0x2b3e6c1f, 0x9b05688c, 0xfb41bd6b, 0x1f83d9ab, 0x137e2179, 0x5be0cd19,
]);

function digest(data) {
  const h = Uint32Array.from(IV);
  h[0] ^= 0x01010000 ^ 16;
  const v = new Uint32Array(32), m = new Uint32Array(32);
  const add = (a, low, high) => {
    const sum = v[a] + low;
    v[a + 1] = v[a + 1] + high + (sum > 0xffffffff ? 1 : 0);
    v[a] = sum;
  };
  // b = (b ^ a), rotated right by `by` bits.
  const turn = (b, a, by) => {
    let low = v[b] ^ v[a], high = v[b + 1] ^ v[a + 1];
    if (by >= 32) [low, high, by] = [high, low, by - 32];
    v[b] = by ? (low >>> by) | (high << (32 - by)) : low;
    v[b + 1] = by ? (high >>> by) | (low << (32 - by)) : high;
  };
  const mix = (a, b, c, d, x, y) => {
    add(a, v[b], v[b + 1]), add(a, m[x], m[x + 1]), turn(d, a, 32);
    add(c, v[d], v[d + 1]), turn(b, c, 24);
    add(a, v[b], v[b + 1]), add(a, m[y], m[y + 1]), turn(d, a, 16);
    add(c, v[d], v[d + 1]), turn(b, c, 63);
  };
  const blocks = Math.max(1, Math.ceil(data.length / 128));
  for (let block = 0; block < blocks; block++) {
    const chunk = Buffer.alloc(128);
    data.copy(chunk, 0, 128 * block);
    for (let i = 0; i < 32; i++) m[i] = chunk.readUInt32LE(4 * i);
    v.set(h), v.set(IV, 16);
    const counted = Math.min(data.length, 128 * (block + 1));
    v[24] ^= counted, v[25] ^= Math.floor(counted / 0x100000000);
    if (block === blocks - 1) v[28] = ~v[28], v[29] = ~v[29];
    for (const s of SIGMA) {
      mix(0, 8, 16, 24, 2 * s[0], 2 * s[1]), mix(2, 10, 18, 26, 2 * s[2], 2 * s[3]);
      mix(4, 12, 20, 28, 2 * s[4], 2 * s[5]), mix(6, 14, 22, 30, 2 * s[6], 2 * s[7]);
      mix(0, 10, 20, 30, 2 * s[8], 2 * s[9]), mix(2, 12, 22, 24, 2 * s[10], 2 * s[11]);
      mix(4, 14, 16, 26, 2 * s[12], 2 * s[13]), mix(6, 8, 18, 28, 2 * s[14], 2 * s[15]);
    }
    for (let i = 0; i < 16; i++) h[i] ^= v[i] ^ v[i + 16];
  }
  return Buffer.from(h.buffer, 0, 16);
}

// --- time ------------------------------------------------------------------------------------------------------------

const mono = () => process.hrtime.bigint(); // CLOCK_MONOTONIC
const clockApart = () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n - mono();
let apart = clockApart();
const wall = () => mono() + apart;
const later = (due, act) => setTimeout(act, Math.max(0, Math.ceil(Number(due - wall()) / 1e6)));

// --- the lease -------------------------------------------------------------------------------------------------------

const libc = koffi.load("libc.so.6");
const fcntl = libc.func("int fcntl(int, int, ...)");
const [F_GETLK, F_SETLK, F_OFD_GETLK, F_WRLCK, F_UNLCK, SLOT] = [5, 6, 36, 1, 2, 256];

function startedAt(pid) {
  try {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, "latin1").replace(/^.*\) /s, "").split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? 0 : Number(fields[19]);
  } catch {
    return 0;
  }
}

// The file is opened once and never again: closing any descriptor of it would release the lock.
class Lease {
  constructor(file) {
    this.file = file;
    this.fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  }

  lock(command, kind) {
    const flock = Buffer.alloc(32); // type, whence, start, length, pid: byte 0, one byte long
    flock.writeInt16LE(kind, 0);
    flock.writeBigInt64LE(1n, 16);
    return { ok: fcntl(this.fd, command, "void *", flock) === 0, flock };
  }

  last() {
    const data = Buffer.alloc(2 * SLOT);
    fs.readSync(this.fd, data, 0, data.length, 0);
    const lines = [0, SLOT].map((at) => {
      try {
        const line = JSON.parse(data.toString("latin1", at, at + SLOT));
        return line.crc === Lease.sum(line) ? line : null;
      } catch {
        return null;
      }
    });
    return lines.reduce((best, line) => (line && (!best || line.epoch > best.epoch) ? line : best), null);
  }

  static sum({ epoch, pid, started, holder }) {
    return zlib.crc32(`${epoch} ${pid} ${started} ${holder}`);
  }

  // Who holds it now, by the kernel: null when it is free.
  holder() {
    const { flock } = this.lock(F_GETLK, F_WRLCK);
    if (flock.readInt16LE(0) === F_UNLCK) return null;
    const pid = flock.readInt32LE(24), last = this.last();
    return last?.pid === pid ? last : { pid, started: 0, holder: "", epoch: 0 };
  }

  // Whether this process has the lock, by the kernel. Asked before each turn, as no variable knows it.
  get held() {
    return this.lock(F_OFD_GETLK, F_WRLCK).flock.readInt32LE(24) === process.pid;
  }

  // Take it if it is free: the new epoch, else 0.
  take(holder, known) {
    if (!this.lock(F_SETLK, F_WRLCK).ok) return 0;
    const here = fs.fstatSync(this.fd), there = fs.statSync(this.file, { throwIfNoEntry: false });
    if (there?.ino !== here.ino) return this.drop(), 0;
    const epoch = 1 + Math.max(this.last()?.epoch ?? 0, known);
    const record = { epoch, pid: process.pid, started: startedAt(process.pid), holder };
    const line = JSON.stringify({ neverblink: "lease/1", ...record, crc: Lease.sum(record) });
    fs.writeSync(this.fd, Buffer.from(line.padEnd(SLOT - 1) + "\n"), 0, SLOT, (epoch % 2) * SLOT);
    return epoch;
  }

  drop() {
    this.lock(F_SETLK, F_UNLCK);
  }
}

// --- the journal -----------------------------------------------------------------------------------------------------

const [SNAPSHOT, ROWS, FRAME, OPENED, CLOSED, WHOLE] = [1, 2, 3, 4, 5, 6];
const HEADER = 16, RECORD = 13;

function record(kind, payload) {
  const head = Buffer.alloc(RECORD);
  head.writeUInt32LE(payload.length, 0);
  head.writeUInt32LE(zlib.crc32(payload, kind), 4);
  head[8] = kind;
  head.writeUInt32LE(~payload.length >>> 0, 9);
  return Buffer.concat([head, payload]);
}

// The complete records of a segment from `at` on: [kind, payload, end].
function* records(data, at) {
  while (at + RECORD <= data.length) {
    const size = data.readUInt32LE(at), end = at + RECORD + size, kind = data[at + 8];
    if (data.readUInt32LE(at + 9) !== ~size >>> 0 || end > data.length) return;
    const payload = data.subarray(at + RECORD, end);
    if (zlib.crc32(payload, kind) !== data.readUInt32LE(at + 4)) return;
    yield [kind, payload, end];
    at = end;
  }
}

class Journal {
  constructor(me) {
    Object.assign(this, { directory: me.journal, me, fd: -1, segment: 0, size: 0, opening: 0, failing: "" });
    if (me.durability === "interval") setInterval(() => this.sync(), 1000).unref();
  }

  numbers() {
    const named = fs.readdirSync(this.directory).filter((name) => /^\d+\.journal$/.test(name));
    return named.map((name) => parseInt(name, 10)).sort((a, b) => a - b);
  }

  file(number) {
    return path.join(this.directory, `${String(number).padStart(8, "0")}.journal`);
  }

  get position() {
    return [this.segment, this.size, this.opening];
  }

  // Continue a segment at `size`, and cut off an incomplete record behind it.
  open(number, size, opening) {
    this.close();
    this.fd = fs.openSync(this.file(number), "r+");
    fs.ftruncateSync(this.fd, size);
    Object.assign(this, { segment: number, size, opening });
  }

  append(kind, payload) {
    if (this.fd >= 0) {
      try {
        const data = record(kind, payload);
        this.size += fs.writeSync(this.fd, data, 0, data.length, this.size);
        if (this.me.durability === "always") this.sync();
      } catch (problem) {
        this.failing = problem.message;
        this.close();
      }
    }
    return this.position;
  }

  // Begin a segment with the whole state of `replica`.
  begin(replica) {
    const number = (this.numbers().at(-1) ?? 0) + 1, file = this.file(number);
    const header = Buffer.from("NBLINKJ\n\x02\0\xfd\xff\0\0\0\0", "latin1");
    header.writeUInt32LE(number, 12);
    const whole = pack([replica.number, replica.digest, replica.sizes()]);
    const data = Buffer.concat([
      header,
      record(SNAPSHOT, pack(replica.snapshot())),
      ...replica.chunks().map((chunk) => record(ROWS, pack(chunk))),
      record(WHOLE, whole),
    ]);
    try {
      fs.writeFileSync(`${file}.${process.pid}.new`, data, { mode: 0o600 });
      fs.renameSync(`${file}.${process.pid}.new`, file);
      this.open(number, data.length, data.length);
      this.failing = "";
    } catch (problem) {
      this.failing = problem.message;
      return;
    }
    const kept = this.numbers().map((each) => [each, fs.statSync(this.file(each)).size]);
    let total = kept.reduce((all, [, size]) => all + size, 0);
    for (const [each, size] of kept.slice(0, -2)) {
      if (total <= this.me.journal_keep) break;
      fs.unlinkSync(this.file(each));
      total -= size;
    }
  }

  sync() {
    if (this.fd >= 0) fs.fdatasyncSync(this.fd);
  }

  close() {
    if (this.fd >= 0) fs.closeSync(this.fd);
    this.fd = -1;
  }
}

// --- the state -------------------------------------------------------------------------------------------------------

const COMMAND = "command/";
const GENESIS = Buffer.alloc(16);
const FIELDS = [
  "epoch", "number", "seq", "kind", "schema", "prev", "timing", "changes", "traffic", "timers", "paused", "about", "settings",
];
const F = Object.fromEntries(FIELDS.map((name, index) => [name, index]));

class Replica {
  constructor(bot) {
    this.bot = bot;
    this.reset();
  }

  reset() {
    Object.assign(this, {
      epoch: 0, number: -1, seq: -1, digest: GENESIS, schema: this.bot.schema, cells: new Map(), tables: new Map(),
      timers: new Map(), paused: false, applied: new Map(), due: 0n, waiting: new Map(), settings: Buffer.alloc(0),
      ahead: 0, numbers: new Map(), feeds: new Map(), open: new Map(), ledBy: "", release: "", last: null,
      position: [0, 0, 0],
    });
    this.read();
  }

  // The bot's own view: the fields that it knows, with defaults for those that are not there.
  read() {
    this.state = {};
    for (const [name, fresh] of Object.entries(this.bot.fields)) {
      this.state[name] = this.cells.has(name) ? unpack(this.cells.get(name)) : structuredClone(fresh);
    }
  }

  // What the bot has changed since: encoded, and part of the cells from now on.
  collect() {
    const changed = new Map();
    for (const name of Object.keys(this.bot.fields)) {
      const data = pack(this.state[name]);
      if (!this.cells.get(name)?.equals(data)) changed.set(name, data);
    }
    return changed;
  }

  snapshot() {
    const vitals = [
      this.timers, this.paused, [...this.applied], this.due, [...this.waiting.values()], this.settings, this.ahead, [], [],
      this.numbers, this.feeds,
    ];
    return [
      this.epoch, this.number, this.seq, this.digest, this.schema, this.cells, this.sizes(), vitals,
      [...this.open.values()], null, this.ledBy, this.release, Buffer.from(JSON.stringify(this.bot.types)),
    ];
  }

  restore(head, position) {
    const [epoch, number, seq, chain, schema, cells, tables, vitals, open = [], , ledBy = "", release = ""] = head;
    const [timers, paused, applied, due, waiting, settings, ahead = 0, , , numbers = new Map(), feeds = new Map()] = vitals;
    Object.assign(this, {
      epoch, number, seq, digest: chain, schema, cells, timers, paused, due: BigInt(due), settings, ahead, numbers, feeds,
      ledBy, release, position, last: null,
      tables: new Map([...tables.keys()].map((name) => [name, new Map()])),
      applied: new Map(applied),
      waiting: new Map(waiting.map((item) => [item[0], item])),
      open: new Map(open.map((opened) => [opened[0], opened])),
    });
    this.read();
  }

  rows(table, rows) {
    for (const [key, row] of rows) this.tables.get(table).set(key.toString("latin1"), [key, row]);
  }

  sizes() {
    return new Map([...this.tables].map(([name, rows]) => [name, rows.size]));
  }

  chunks() {
    const found = [];
    for (const [name, rows] of this.tables) {
      const all = [...rows.values()];
      for (let at = 0; at < all.length; at += 256) found.push([name, all.slice(at, at + 256)]);
    }
    return found;
  }

  // Advance by a frame; false when it does not continue the chain.
  apply(body, position) {
    const frame = unpack(body);
    if (frame[F.number] !== this.number + 1 || !frame[F.prev].equals(this.digest)) return false;
    const [cells, tables] = frame[F.changes];
    for (const [name, data] of cells) {
      this.cells.set(name, data);
      if (name in this.bot.fields) this.state[name] = unpack(data);
    }
    for (const [name, rows] of tables) {
      if (!this.tables.has(name)) this.tables.set(name, new Map());
      for (const [key, row] of rows) {
        if (row === null) this.tables.get(name).delete(key.toString("latin1"));
        else this.rows(name, [[key, row]]);
      }
    }
    const [, applied = [], , waiting = [], , dropped = [], numbers = new Map(), , feeds = []] =
      frame[F.traffic] ?? [];
    const ended = frame[F.timing][3];
    for (const item of waiting) if (!this.applied.has(item[0])) this.waiting.set(item[0], item);
    for (const key of applied) {
      this.waiting.delete(key), this.applied.set(key, ended), this.open.delete(key);
      if (this.applied.size > 100_000) this.applied.delete(this.applied.keys().next().value);
    }
    for (const key of dropped) this.waiting.delete(key);
    for (const [stream, ranges] of numbers) this.numbers.set(stream, ranges);
    for (const [feed, run, , last] of feeds) this.feeds.set(feed, [run, last]);
    for (const [name, armed] of frame[F.timers] ?? []) {
      if (armed === null) this.timers.delete(name);
      else this.timers.set(name, armed);
    }
    if (frame[F.paused] != null) this.paused = frame[F.paused];
    if (frame[F.settings] != null) this.settings = frame[F.settings];
    const about = frame[F.about];
    if (frame[F.kind] === "tick") {
      this.seq = frame[F.seq], this.due = BigInt(frame[F.timing][0]), this.ahead = frame[F.timing][7] ?? 0;
    } else if (frame[F.kind] === "stop") this.ledBy = "";
    else if (about?.[0] === "led") {
      this.ledBy = about[1], this.release = about[2];
      for (const id of about[8] ?? []) this.open.delete(id);
    }
    Object.assign(this, {
      number: frame[F.number], digest: digest(body), epoch: Math.max(this.epoch, frame[F.epoch]), schema: frame[F.schema],
      position, last: frame,
    });
    return true;
  }

  note(opened, closed) {
    if (opened) this.open.set(opened[0], opened);
    if (closed) this.open.delete(closed);
  }

  // Read what the journal has after this state; the place to continue it, null when it cannot be continued.
  catchUp(journal) {
    const numbers = journal.numbers();
    let start = this.position[0], offset = this.position[1], place = null;
    if (this.number < 0) {
      // Without a state: the newest segment. Every segment with its final name has its whole snapshot.
      start = numbers.at(-1) ?? 0;
      offset = 0;
    }
    for (const number of numbers.filter((each) => each >= start)) {
      const data = fs.readFileSync(journal.file(number));
      let end = number === start ? Math.max(HEADER, offset) : HEADER, opening = number === start ? this.position[2] : 0;
      if (end > data.length) return null;
      const early = [];
      let whole = end > HEADER;
      for (const [kind, payload, after] of records(data, end)) {
        end = after;
        if (kind === SNAPSHOT) {
          const head = unpack(payload);
          if (head[1] > this.number || this.number < 0) this.restore(head, [number, end, 0]), (this.fresh = true);
        } else if (kind === ROWS && this.fresh) this.rows(...unpack(payload));
        else if (kind === OPENED) this.note(unpack(payload), "");
        else if (kind === CLOSED) this.note(null, unpack(payload)[0]);
        else if (kind === WHOLE) {
          (whole = true), (opening = end), (this.fresh = false);
          for (const body of early.splice(0)) this.apply(body, [number, end, opening]);
        } else if (kind === FRAME) whole ? this.apply(payload, [number, end, opening]) : early.push(payload);
      }
      place = [number, end, opening];
    }
    return place;
  }
}

// --- the sockets -----------------------------------------------------------------------------------------------------

function z85(bytes) {
  const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
  let text = "";
  for (let at = 0; at < bytes.length; at += 4) {
    let value = bytes.readUInt32BE(at), five = "";
    for (let i = 0; i < 5; i++) (five = digits[value % 85] + five), (value = Math.floor(value / 85));
    text += five;
  }
  return text;
}

function publicOf(secret) {
  const head = Buffer.from("302e020100300506032b656e04220420", "hex"); // X25519 in PKCS #8
  const key = crypto.createPrivateKey({ key: Buffer.concat([head, secret]), format: "der", type: "pkcs8" });
  return crypto.createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
}

const derive = (secret, purpose, name) => crypto.createHmac("sha256", secret).update(`${purpose}\0${name}`).digest();

class Sockets {
  constructor(me) {
    this.me = me;
    this.queues = new WeakMap();
    this.keys = Object.fromEntries(Object.entries(me.keys).map(([name, key]) => [name, Buffer.from(key, "base64")]));
    // A socket's path has at most 107 bytes: a descriptor of the directory makes any path short.
    this.run = me.run.length < 80 ? me.run : `/proc/self/fd/${fs.openSync(me.run, "r")}`;
    const own = { curveSecretKey: z85(this.keys.own), curvePublicKey: z85(publicOf(this.keys.own)) };
    const quick = { linger: 0, sendHighWaterMark: 0, receiveHighWaterMark: 0, reconnectInterval: 20 };
    this.dealer = (server, identity) =>
      new zmq.Dealer({ ...own, ...quick, routingId: identity, curveServerKey: z85(server) });
    this.followers = new zmq.Router({
      linger: 0, sendHighWaterMark: 0, receiveHighWaterMark: 0, mandatory: true, handover: true, curveServer: true,
      curveSecretKey: z85(derive(this.keys.links, "leader", me.worker)),
    });
  }

  async open(onSupervisor, onFollower) {
    await this.followers.bind(`ipc://${this.run}/${this.me.worker}.sock`);
    this.supervisor = this.dealer(this.keys.supervisor, `${this.me.worker}-${process.pid}`);
    this.supervisor.connect(`ipc://${this.run}/supervisor.sock`);
    this.receive(this.supervisor, ([data]) => onSupervisor(data));
    this.receive(this.followers, ([id, data]) => onFollower(id.toString(), data));
  }

  follow(leader, onMessage) {
    this.leader?.close();
    const socket = (this.leader = this.dealer(publicOf(derive(this.keys.links, "leader", leader)), this.me.worker));
    socket.connect(`ipc://${this.run}/${leader}.sock`);
    this.receive(socket, ([data]) => this.leader === socket && onMessage(data));
  }

  async receive(socket, act) {
    try {
      for await (const parts of socket) act(parts);
    } catch (problem) {
      if (!socket.closed) fail(`a socket failed: ${problem.message}`);
    }
  }

  // A socket takes one message after another. One that cannot be sent is lost: a peer that misses it asks again.
  send(socket, parts) {
    if (!this.queues.has(socket)) this.queues.set(socket, []);
    const queue = this.queues.get(socket);
    queue.push(parts);
    if (queue.length > 1) return;
    const next = () => {
      queue.shift();
      if (queue.length && !socket.closed) socket.send(queue[0]).then(next, next);
    };
    socket.send(parts).then(next, next);
  }

  tell(type, fields = {}) {
    this.send(this.supervisor, [pack({ type, ...fields })]);
  }

  toLeader(type, fields = {}) {
    if (this.leader) this.send(this.leader, [pack({ type, ...fields })]);
  }

  toFollower(worker, type, fields = {}) {
    this.send(this.followers, [worker, pack({ type, ...fields })]);
  }
}

// --- the worker ------------------------------------------------------------------------------------------------------

const LAG_ALLOWED = 32, MEMORY = 4096, SLACK = 2_000_000n;

class Worker {
  constructor(me, bot) {
    Object.assign(this, { me, bot, role: "joining", leader: "", epoch: 0, loaded: false, guard: false, keeps: false });
    Object.assign(this, { reverted: false, order: null, settled: 0, held: "", stopping: false, dismissed: false });
    Object.assign(this, { ticks: 0, turns: 0, skipped: 0, lateMax: 0, cause: "", doubts: [], alarm: null, heard: 0n });
    Object.assign(this, { copying: false, behind: [], chunk: 0, memory: [], followers: new Map(), answers: new Map() });
    Object.assign(this, { fresh: [], timerChanges: new Map(), first: null, gap: null, watched: null, unsaved: false });
    this.replica = new Replica(bot);
    this.lease = new Lease(me.lease);
    this.journal = new Journal(me);
    this.sockets = new Sockets(me);
  }

  async start() {
    await this.sockets.open((data) => this.ordered(data), (id, data) => this.fromFollower(id, data));
    this.sayHello();
    this.readyAt = { imported: Math.round(performance.now() * 1e6), started: 1 };
    this.sockets.tell("ready", this.readyAt);
    this.report();
    setInterval(() => this.pulse(), Math.max(10, this.me.pulse / 1e6));
    setInterval(() => this.watch(), 10);
  }

  // --- reports

  sayHello() {
    const { bot, worker, release } = this.me;
    this.sockets.tell("hello", {
      bot, worker, pid: process.pid, started: startedAt(process.pid), protocol: [1, 1], release, schema: this.bot.schema,
      interval: this.bot.interval, windows: [], python: `node ${process.version.slice(1)}`, neverblink: "worker.js",
      offers: { commands: [], settings: null, halts: false, listens: true, state: false },
    });
  }

  report(done = false) {
    const replica = this.replica, leads = this.role === "leading";
    this.sockets.tell("report", {
      role: this.role, epoch: this.epoch, loaded: this.loaded, leader: this.leader, order: this.settled, seq: replica.seq,
      number: replica.number, paused: replica.paused, ticks: this.ticks, skipped: this.skipped, late_max: this.lateMax,
      inbox: replica.waiting.size, remembered: replica.applied.size, remember_limit: 100_000, followers: this.followers.size,
      cause: this.cause, guard: this.guard, imported: this.role === "joining" ? (this.readyAt?.imported ?? 0) : 0,
      prepared: this.readyAt?.started ?? 0, done, turns: this.turns,
      journal: leads ? [this.journal.segment, this.journal.size, this.journal.failing, 0, 0] : null,
      due: leads && replica.seq >= 0 ? mono() + this.dueOf(replica.seq + 1) - wall() : 0,
    });
    this.lateMax = 0;
  }

  pulse() {
    const now = clockApart();
    if (now - apart > 50_000_000n || apart - now > 50_000_000n) apart = now; // the clock was set
    this.report();
    if (this.role === "following") {
      if (mono() - this.heard > 1_000_000_000n) this.subscribe();
      const holder = this.lease.holder();
      if (holder?.holder && ![this.leader, this.me.worker].includes(holder.holder)) this.connect(holder.holder);
      const overdue = wall() - this.replica.due - BigInt(this.bot.interval);
      if (this.guard && this.loaded && overdue > BigInt(this.me.hang_after) && this.replica.due) {
        this.sockets.tell("suspect", { leader: this.leader, reason: `no tick for ${Number(overdue / 1_000_000n)} ms` });
      }
    }
  }

  // Ten times as often: has the process that this one guards ended?
  watch() {
    if (this.role === "leading") return this.boundary();
    if (this.role !== "following" || !this.guard || !this.loaded) return;
    const last = this.lease.last();
    if (last?.holder === this.leader && startedAt(last.pid) !== last.started) this.takeLease("failover");
  }

  // --- the supervisor

  ordered(data) {
    let message;
    try {
      message = Object.fromEntries(unpack(data));
    } catch {
      return;
    }
    switch (message.type) {
      case "welcome":
        return this.report();
      case "identify":
        this.sayHello();
        this.sockets.tell("ready", this.readyAt);
        if (this.rehearsed) this.sockets.tell("rehearsed", this.rehearsed);
        this.report();
        if (this.handed) this.sockets.tell("handed", this.handed);
        return;
      case "rejected":
        if (this.role === "joining" || this.role === "following") fail(message.reason);
        return;
      case "follow":
        if (this.role === "following" && this.leader === message.leader) this.guard ||= message.guard ?? false;
        else if (this.role === "joining" || this.role === "following") {
          Object.assign(this, { role: "following", guard: message.guard ?? false, keeps: false });
          this.connect(message.leader);
        }
        return this.report();
      case "lead":
        if (this.role === "joining") this.takeLease("first");
        else if (this.role === "following" && this.loaded) this.takeLease("failover");
        return;
      case "yield":
        if (this.role !== "leading") return;
        if (message.order <= this.settled || message.to === this.me.worker) return this.report();
        if (!this.order || message.order > this.order.order) {
          this.order = { ...message, since: mono() };
          this.held = "";
        }
        return this.boundary();
      case "cancel":
        if (this.role !== "leading") return;
        this.settled = Math.max(this.settled, message.order);
        if (this.order && this.order.order <= message.order) this.order = null;
        return this.sockets.tell("cancelled", { order: message.order });
      case "retire":
        if (this.role === "yielding") this.dismissed = true;
        else if (this.role !== "leading") this.leave(0);
        return;
      case "stop":
        this.stopping = true;
        return this.role === "leading" ? this.boundary() : this.role === "yielding" ? undefined : this.leave(0);
      case "run":
        return this.command(message);
    }
  }

  command({ key, name, args }) {
    const known = `${COMMAND}${key.replace(COMMAND, "")}`;
    if (this.answers.has(known)) return this.sockets.tell("answered", this.answers.get(known));
    this.receive([known, "command", pack([name, args]), wall(), "", null]);
  }

  // --- following

  connect(leader) {
    this.leader = leader;
    this.heard = mono();
    this.sockets.follow(leader, (data) => this.fromLeader(data));
    this.subscribe();
  }

  subscribe() {
    if (this.copying) this.replica.reset(), (this.copying = false);
    this.heard = mono();
    const { number, digest, schema } = this.replica;
    this.sockets.toLeader("subscribe", {
      worker: this.me.worker, protocol: [1, 1], schema: this.bot.schema ?? schema, number, digest, pid: process.pid,
    });
    const own = this.fresh.map((key) => this.replica.waiting.get(key)).filter(Boolean);
    if (own.length) this.sockets.toLeader("offer", { items: own });
  }

  fromLeader(data) {
    if (this.role !== "following") return;
    this.heard = mono();
    let message;
    try {
      message = Object.fromEntries(unpack(data));
    } catch {
      return;
    }
    const replica = this.replica;
    switch (message.type) {
      case "begin":
        replica.restore(message.head, message.position);
        Object.assign(this, { copying: true, behind: [], loaded: false, copied: [0, 0], copySince: mono() });
        this.copied[0] = [...replica.cells.values()].reduce((all, cell) => all + cell.length, 0);
        return this.ack();
      case "rows":
        if (this.copying) replica.rows(message.table, message.rows);
        this.copied[1] += message.rows.length;
        this.chunk = message.chunk;
        return this.ack();
      case "end": {
        if (!this.copying) return;
        this.copying = false;
        for (const sent of this.behind.splice(0)) this.frame(sent);
        this.ack();
        const problem = this.bot.problem(replica.state);
        if (problem) return fail(problem, "rehearsal");
        return this.sockets.toLeader("trial", { schema: this.bot.schema, changes: [replica.cells, {}] });
      }
      case "verdict":
        if (!this.rehearsed) {
          const [bytes, rows] = this.copied, took = mono() - this.copySince;
          this.rehearsed = { bytes, rows, took, rollback: message.problem || "newest", changes: null };
          this.sockets.tell("rehearsed", this.rehearsed);
        }
        this.loaded = true;
        return this.report();
      case "frame":
        return this.copying ? this.behind.push(message) : this.frame(message);
      case "decision":
        return replica.note(message.opened, message.closed);
      case "brace":
        // No final-frame socket: the final frame comes like any other message.
        return this.sockets.toLeader("braced", { order: message.order });
      case "failing":
        return this.guard && this.loaded ? this.takeLease("failover") : this.report();
      case "refused":
        return this.keeps ? undefined : fail(message.reason, "rehearsal");
      case "final":
        return this.final(message);
    }
  }

  frame({ body, position }) {
    const number = unpack(body)[F.number];
    if (number <= this.replica.number) return;
    if (!this.replica.apply(body, position)) return this.subscribe();
    // A worker that led and then subscribed from where it stood has the whole state.
    if (this.keeps && !this.loaded) this.loaded = true;
    if (number % 8 === 0) this.ack();
    else this.acking ??= setTimeout(() => ((this.acking = null), this.ack()), 15);
  }

  ack() {
    this.sockets.toLeader("ack", { number: this.replica.number, chunk: this.chunk, needs: 0 });
  }

  final({ order, body, position, pending }) {
    const number = unpack(body)[F.number];
    const ready = this.loaded && (number <= this.replica.number || this.replica.apply(body, position));
    if (!ready) return this.sockets.toLeader("declined", { order, reason: "frames before the final one are missing" });
    for (const item of pending) this.receive(item);
    this.takeLease("handoff", order);
  }

  // --- the lease

  takeLease(cause, order = 0) {
    const replica = this.replica, before = cause === "first" ? "" : this.leader;
    const epoch = this.lease.take(this.me.worker, replica.epoch);
    if (!epoch) return this.refused(cause);
    clearTimeout(this.takeback);
    const number = replica.number;
    const place = replica.catchUp(this.journal);
    if (cause === "takeback" && replica.number > number) cause = "failover";
    if (place) this.journal.open(...place);
    const left = replica.last?.[F.kind] === "yield" ? replica.last[F.about] : null;
    Object.assign(this, { role: "leading", leader: this.me.worker, loaded: true, guard: false, keeps: false, held: "" });
    Object.assign(this, { dismissed: false, reverted: false, cause, memory: [], followers: new Map(), gap: cause });
    this.epoch = replica.epoch = Math.max(epoch, replica.epoch);
    this.settled = Math.max(this.settled, order);
    if (cause === "handoff") this.sockets.toLeader("took", { epoch, order });
    if (replica.due) {
      // The code before may have had another interval.
      const interval = BigInt(this.bot.interval);
      if (replica.due !== BigInt(replica.seq - replica.ahead) * interval) {
        Object.assign(replica, { seq: Number(replica.due / interval), ahead: 0 });
      }
    }
    const doubts = cause === "handoff" ? [] : [...replica.open.values()].filter(([id]) => !id.startsWith(COMMAND));
    this.doubts = doubts.map(([id, , , name, , at]) => ({ id, name, at }));
    const blackout = left ? mono() - BigInt(left[3]) : 0n;
    this.first = { order, blackout };
    this.unsaved = !place;
    if (this.unsaved) this.journal.begin(replica);
    const ids = doubts.map(([id]) => id), deployment = this.me.deployment;
    const about = ["led", this.me.worker, this.me.release, cause, before || replica.ledBy, order, deployment, blackout, ids];
    this.turn("lead", wall(), () => this.bot.onLead?.(replica.state, this.doubts), { about });
    this.unsaved = true;
    this.report();
    this.schedule();
  }

  refused(cause) {
    const holder = this.lease.holder();
    if (this.role === "yielding") {
      if (holder?.holder && holder.holder !== this.me.worker) return this.stepAside(holder.holder);
      return this.armTakeback();
    }
    this.role = "following";
    if (holder?.holder && ![this.leader, this.me.worker].includes(holder.holder)) this.connect(holder.holder);
    else if (cause === "failover") setTimeout(() => this.guard && this.loaded && this.takeLease("failover"), 20);
    this.report();
  }

  armTakeback() {
    clearTimeout(this.takeback);
    this.takeback = setTimeout(() => this.role === "yielding" && this.takeLease("takeback"), this.me.lease_within / 1e6);
  }

  stepAside(leader) {
    clearTimeout(this.takeback);
    if (this.dismissed || this.stopping) return this.leave(0);
    Object.assign(this, { role: "following", guard: !this.reverted, keeps: !this.reverted, loaded: true });
    this.connect(leader);
    this.report();
  }

  // --- turns

  dueOf(seq) {
    return BigInt(seq - this.replica.ahead) * BigInt(this.bot.interval);
  }

  schedule() {
    clearTimeout(this.alarm);
    if (this.role !== "leading") return;
    const armed = [...this.replica.timers.values()].map(([due]) => BigInt(due));
    const due = [this.dueOf(this.replica.seq < 0 ? this.present() : this.replica.seq + 1), ...armed];
    this.alarm = later(due.reduce((a, b) => (a < b ? a : b)), () => this.run());
  }

  present() {
    return Number(wall() / BigInt(this.bot.interval)) + this.replica.ahead;
  }

  // Run what is due, one turn after another, with a boundary after each.
  run() {
    const replica = this.replica;
    for (let turns = 0; this.role === "leading" && turns < 100; turns++) {
      const now = wall();
      if (!this.lease.held) throw new Error("the lease was lost: a descriptor of its file was closed");
      const overdue = [...replica.timers].filter(([, [due]]) => BigInt(due) <= now);
      const [timer] = overdue.sort((a, b) => (a[1][0] < b[1][0] ? -1 : 1));
      const next = replica.seq < 0 ? this.present() : replica.seq + 1;
      if (this.dueOf(next) <= now) this.tick(next);
      else if (timer) this.fire(...timer);
      else if (replica.waiting.size) this.item(replica.waiting.values().next().value);
      else break;
      this.boundary();
    }
    this.schedule();
  }

  tick(next) {
    const seq = Math.max(next, this.present()), due = this.dueOf(seq);
    const why = { first: "the bot was down", failover: "the leader died" }[this.gap] ?? "the handoff";
    const lost = { first: next, last: seq - 1, kind: this.gap ? "missed" : "skipped", cause: this.gap ? why : "overrun" };
    const gaps = seq > next ? [lost] : [];
    if (gaps.length && !this.gap) this.skipped += seq - next;
    this.gap = null;
    const timing = this.turn("tick", due, () => this.bot.onTick?.(this.replica.state, { seq, due }, this), { seq, gaps });
    this.ticks += 1;
    this.turns += 1;
    this.lateMax = Math.max(this.lateMax, Number(timing.late));
    if (this.first) {
      const missed = lost.kind === "missed" && gaps.length ? seq - next : 0;
      this.handed = {
        epoch: this.epoch, cause: this.cause, seq, late: timing.late, missed, in_doubt: this.doubts, due, ...this.first,
      };
      this.first = null;
      this.sockets.tell("handed", this.handed);
    }
    // A segment of this code's own, with the types of its state, and later whenever one is full.
    const full = this.journal.size - this.journal.opening > this.me.journal_segment;
    if (this.unsaved || full || this.journal.failing) (this.unsaved = false), this.journal.begin(this.replica);
  }

  fire(name, [due, every = 0]) {
    const period = BigInt(every), now = wall(), at = BigInt(due);
    const again = period ? [at + ((now - at) / period + 1n) * period, every] : null;
    this.timerChanges.set(name, again);
    this.turns += 1;
    this.turn("timer", at, () => this.bot.onTimer?.(this.replica.state, { name, due: at, late: now - at }, this));
  }

  setTimer(name, after, every = 0) {
    this.timerChanges.set(name, [wall() + BigInt(after), every]);
  }

  // What came in: applied once, by its key.
  receive(item) {
    const [key] = item;
    if (this.replica.applied.has(key) || this.replica.waiting.has(key)) return;
    this.replica.waiting.set(key, item);
    this.fresh.push(key);
    if (this.role === "leading") setImmediate(() => this.run());
    else if (this.role === "following") this.sockets.toLeader("offer", { items: [item] });
  }

  item([key, kind, data, at]) {
    const replica = this.replica;
    this.turns += 1;
    if (kind === "event") {
      const event = { key, data: unpack(data), at };
      return this.turn("event", BigInt(at), () => this.bot.onEvent?.(replica.state, event, this), { applied: [key] });
    }
    const [name, args] = unpack(data), answer = { key: key.slice(COMMAND.length), seq: replica.seq, value: null, error: "" };
    const paused = { pause: true, resume: false }[name];
    if (paused === undefined && replica.open.has(key)) answer.error = "the process died while it ran the command";
    const own = () => {
      if (answer.error || paused !== undefined) return;
      try {
        answer.value = this.bot.onCommand(replica.state, name, Object.fromEntries(args), this);
      } catch (problem) {
        answer.error = `${problem.name}: ${problem.message}`;
      }
    };
    if (paused === undefined) {
      const opened = [key, this.epoch, Math.max(0, replica.seq), name, args, wall()];
      this.journal.append(OPENED, pack(opened));
      replica.note(opened, "");
      for (const worker of this.followers.keys()) this.sockets.toFollower(worker, "decision", { opened, closed: "" });
    }
    this.turn("command", BigInt(at), own, { applied: [key], paused });
    answer.seq = replica.seq;
    this.answers.set(key, answer);
    if (this.answers.size > 100) this.answers.delete(this.answers.keys().next().value);
    this.sockets.tell("answered", answer);
    if (paused !== undefined) this.report();
  }

  // One turn: call the bot, make the frame, write it, apply it, send it.
  turn(kind, due, call, { seq, gaps = [], applied = [], about = null, paused = null, but = "" } = {}) {
    const replica = this.replica, began = mono(), late = wall() - due > 0n ? wall() - due : 0n;
    call();
    const received = this.fresh.splice(0), ended = wall(), at = mono();
    const waiting = received.filter((key) => !applied.includes(key)).map((key) => replica.waiting.get(key)).filter(Boolean);
    const timing = [due, late, at - began, ended, at, gaps, null, kind === "tick" ? replica.ahead : 0, false];
    if (kind === "yield") about[3] = at;
    const body = pack([
      this.epoch, replica.number + 1, seq ?? replica.seq, kind, this.bot.schema, replica.digest, timing,
      [replica.collect(), {}], [received, applied, 0, waiting, [], [], {}, []], this.timerChanges, paused, about, null,
    ]);
    this.timerChanges = new Map();
    const position = this.journal.append(FRAME, body);
    if (!replica.apply(body, position)) throw new Error("a frame of this worker's own does not continue its chain");
    this.memory.push([replica.number, unpack(body)[F.prev], body, position]);
    if (this.memory.length > MEMORY) this.memory.shift();
    for (const worker of this.followers.keys()) {
      if (worker !== but) this.sockets.toFollower(worker, "frame", { body, position, translated: null });
    }
    return { late, body, position };
  }

  // Between two turns: stop, or hand over, if that is ordered and nothing holds it.
  boundary() {
    if (this.role !== "leading") return;
    if (this.stopping) {
      this.turn("stop", wall(), () => this.bot.onStop?.(this.replica.state));
      return this.leave(0);
    }
    const order = this.order;
    if (!order) return;
    const successor = this.followers.get(order.to);
    const ready = successor && this.replica.number - successor.acked <= LAG_ALLOWED;
    const slack = this.dueOf(this.replica.seq + 1) - wall() >= SLACK || mono() - order.since > 1_000_000_000n;
    const held = !ready ? "the new worker" : !slack ? "too little time before the next tick" : "";
    if (held) {
      if (held !== this.held) this.sockets.tell("holding", { order: order.order, reason: (this.held = held) });
      return;
    }
    Object.assign(this, { role: "yielding", leader: order.to, order: null, settled: order.order, reverted: order.back });
    clearTimeout(this.alarm);
    const pending = this.fresh.map((key) => this.replica.waiting.get(key)).filter(Boolean);
    this.fresh = [];
    const about = ["yielded", order.to, order.order, 0];
    const { body, position } = this.turn("yield", 0n, () => {}, { about, but: order.to });
    this.journal.close();
    this.lease.drop();
    const deployment = order.deployment;
    this.sockets.toFollower(order.to, "final", { order: order.order, deployment, body, position, pending, aside: [] });
    this.armTakeback();
    this.report();
  }

  // --- followers

  fromFollower(worker, data) {
    let message;
    try {
      message = Object.fromEntries(unpack(data));
    } catch {
      return;
    }
    const replica = this.replica, follower = this.followers.get(worker);
    switch (message.type) {
      case "subscribe":
        return this.role === "leading" ? this.serve(worker, message) : undefined;
      case "ack":
        if (follower) follower.acked = Math.max(follower.acked, message.number);
        return;
      case "offer":
        return this.role === "leading" ? message.items.forEach((item) => this.receive(item)) : undefined;
      case "trial": {
        let problem = "";
        try {
          const fields = Object.keys(this.bot.fields).filter((name) => message.changes[0].has(name));
          problem = this.bot.problem(Object.fromEntries(fields.map((name) => [name, unpack(message.changes[0].get(name))])));
        } catch (error) {
          problem = error.message;
        }
        return this.sockets.toFollower(worker, "verdict", { problem });
      }
      case "took":
        if (this.role === "yielding" && worker === this.leader) {
          this.epoch = Math.max(this.epoch, message.epoch);
          this.stepAside(worker);
        }
        return;
      case "declined":
        return this.role === "yielding" && message.order === this.settled ? this.takeLease("takeback") : undefined;
    }
  }

  serve(worker, { number, digest: known, pid = 0 }) {
    const replica = this.replica;
    this.followers.set(worker, { acked: -1, pid });
    const at = this.memory.findIndex(([each]) => each === number + 1);
    const chain = number === replica.number ? replica.digest : this.memory[at]?.[1];
    if (number >= 0 && chain?.equals(known)) {
      this.followers.get(worker).acked = number;
      for (const [, , body, position] of number === replica.number ? [] : this.memory.slice(at)) {
        this.sockets.toFollower(worker, "frame", { body, position, translated: null });
      }
      return;
    }
    this.sockets.toFollower(worker, "begin", { head: replica.snapshot(), position: replica.position });
    replica.chunks().forEach(([table, rows], i) => this.sockets.toFollower(worker, "rows", { chunk: i + 1, table, rows }));
    this.sockets.toFollower(worker, "end", { number: replica.number });
  }

  // --- the end

  leave(status, failed = null) {
    const led = this.role === "leading";
    this.role = "retired";
    clearTimeout(this.alarm);
    if (failed) {
      this.sockets.tell("failed", { phase: failed.phase, reason: failed.reason, traceback: "" });
      const { reason } = failed;
      if (led) for (const worker of this.followers.keys()) this.sockets.toFollower(worker, "failing", { reason });
    }
    this.journal.close();
    this.lease.drop();
    this.report(true);
    // The messages need a moment to leave this process.
    setTimeout(() => process.exit(status), 100);
  }
}

let worker = null;

function fail(reason, phase = "run") {
  console.error(reason);
  if (!worker || worker.role === "retired") process.exit(1);
  worker.leave(1, { phase, reason });
}

process.on("uncaughtException", (problem) => {
  console.error(problem.stack);
  fail(`${problem.name}: ${problem.message}`, "tick");
});

// --- the bot ---------------------------------------------------------------------------------------------------------

const bot = {
  interval: 100_000_000, // ns
  // `neverblink check --json` shows the schema of the Python code that shares this state.
  schema: [1, process.env.SCHEMA ?? ""],
  fields: { count: 0, language: "", seen: [], timers: 0 },
  types: {
    title: "Book",
    type: "object",
    properties: {
      count: { type: "integer", default: 0 },
      language: { type: "string", default: "" },
      seen: { type: "array", items: { type: "string" }, default: [] },
      timers: { type: "integer", default: 0 },
    },
  },
  // Why this code cannot continue with a state, "" when it can: the rehearsal.
  problem: (state) => (Number.isSafeInteger(state.count ?? 0) ? "" : "state field count: expected an integer"),
  onLead(state) {
    console.log(`leads at ${state.count}`);
  },
  onTick(state, tick, self) {
    state.count += 1;
    state.language = "node";
    if (state.count % 10 === 0) self.setTimer("tenth", 50_000_000);
  },
  onEvent(state, event) {
    state.seen.push(event.key);
  },
  onTimer(state) {
    state.timers += 1;
  },
  onCommand(state, name) {
    if (name === "book") return { pid: process.pid, ...state };
    throw new Error(`unknown command ${name}: this bot knows book`);
  },
};

if (require.main === module) {
  const pipe = Number(process.env.NEVERBLINK_ASSIGNMENT);
  if (!pipe) throw new Error("only a supervisor starts this worker: neverblink up");
  worker = new Worker(JSON.parse(fs.readFileSync(pipe)), bot);
  worker.start().catch((problem) => fail(problem.message, "start"));
}

module.exports = { pack, unpack, digest };
