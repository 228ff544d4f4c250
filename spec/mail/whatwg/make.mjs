// Makes host/codec/indexes.c (the indexes of the WHATWG Encoding Standard) and spec/mail/whatwg/digests.lua (what a
// WHATWG decoder says about every pair of bytes and about random texts) from a decoder that passes the Standard's tests.
// No build and no spec needs it; run it when the Standard changes:
//   npm install @exodus/bytes@1.16.0 && node make.mjs TOP        (TOP: the checkout; modules are found from here)
// node's own TextDecoder is no substitute: it reads the legacy encodings with ICU's tables.
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const top = process.argv[2] ?? '.';
const from = createRequire(join(process.cwd(), 'package.json'));
const { TextDecoder } = await import(pathToFileURL(from.resolve('@exodus/bytes/encoding.js')));

const decoders = new Map();
function decode(label, ...bytes) {
  if (!decoders.has(label)) decoders.set(label, new TextDecoder(label, { ignoreBOM: true }));
  return decoders.get(label).decode(Uint8Array.from(bytes.flat()));
}

// ---- the indexes ----

const UNMAPPED = 0;

// The code point of a whole text, or UNMAPPED; two code points (Big5 has four such pairs) are told apart by the code.
function one(text) {
  const points = [...text];
  return points.length === 1 && points[0] !== '\uFFFD' ? points[0].codePointAt(0) : UNMAPPED;
}

function literal(code) {
  const is_letter = (code >= 0x3041 && code <= 0x30ff) || (code >= 0x3400 && code <= 0x4dbf)
    || (code >= 0x4e00 && code <= 0x9fff) || (code >= 0xac00 && code <= 0xd7a3);
  if (is_letter) return String.fromCharCode(code);
  if (code === UNMAPPED) return '\\0';
  if (code < 0xa0) return '\\' + code.toString(8).padStart(3, '0');
  return '\\u' + code.toString(16).toUpperCase().padStart(4, '0');
}

// A C array of 16 bits as a literal, at most 112 columns a line.
function array(name, codes, note) {
  const lines = [];
  let line = '';
  for (const code of codes) {
    const piece = literal(code & 0xffff);
    if (line.length + piece.length > 108) {
      lines.push(line);
      line = '';
    }
    line += piece;
  }
  lines.push(line);
  return `/* ${note} */\nconst uint16_t ${name}[${codes.length}] =\n${lines.map((l) => `\tu"${l}"`).join('\n')};\n`;
}

function pairs(label, leads, trails, prefix = []) {
  const codes = [];
  for (const lead of leads) for (const trail of trails) codes.push(one(decode(label, prefix, lead, trail)));
  return codes;
}

function range(...ends) {
  const out = [];
  for (let i = 0; i < ends.length; i += 2) for (let b = ends[i]; b <= ends[i + 1]; b++) out.push(b);
  return out;
}

function bitmap(name, codes, note) {
  const bytes = [];
  codes.forEach((code, i) => {
    if (code > 0xffff) bytes[i >> 3] = (bytes[i >> 3] ?? 0) | (1 << (i & 7));
  });
  const size = Math.ceil(codes.length / 8);
  const list = Array.from({ length: size }, (_, i) => `${bytes[i] ?? 0},`);
  const lines = [];
  let line = '';
  for (const item of list) {
    if (line.length + item.length > 104) {
      lines.push(line);
      line = '';
    }
    line += item;
  }
  lines.push(line);
  return `/* ${note} */\nconst uint8_t ${name}[${size}] = {\n${lines.map((l) => `\t${l}`).join('\n')}\n};\n`;
}

function gb_ranges() {
  const ranges = [];
  let last = -1;
  for (let pointer = 0; pointer <= 39419; pointer++) {
    const code = one(decode('gb18030', 0x81 + Math.floor(pointer / 12600), 0x30 + (Math.floor(pointer / 1260) % 10),
      0x81 + (Math.floor(pointer / 10) % 126), 0x30 + (pointer % 10)));
    if (code !== last + 1) ranges.push([pointer, code]);
    last = code;
  }
  return ranges;
}

const SINGLE = ['ibm866', 'iso-8859-2', 'iso-8859-3', 'iso-8859-4', 'iso-8859-5', 'iso-8859-6', 'iso-8859-7',
  'iso-8859-8', 'iso-8859-10', 'iso-8859-13', 'iso-8859-14', 'iso-8859-15', 'iso-8859-16', 'koi8-r', 'koi8-u',
  'macintosh', 'windows-874', 'windows-1250', 'windows-1251', 'windows-1252', 'windows-1253', 'windows-1254',
  'windows-1255', 'windows-1256', 'windows-1257', 'x-mac-cyrillic', 'x-user-defined'];

function indexes() {
  const sjis_trails = range(0x40, 0x7e, 0x80, 0xfc);
  const gb_trails = range(0x40, 0x7e, 0x80, 0xfe);
  const big5_trails = range(0x40, 0x7e, 0xa1, 0xfe);
  const big5 = pairs('big5', range(0x81, 0xfe), big5_trails);
  const ranges = gb_ranges();
  const rows = [];
  for (let i = 0; i < ranges.length; i += 5)
    rows.push('\t' + ranges.slice(i, i + 5).map(([p, c]) => `{ ${p}, 0x${c.toString(16).toUpperCase()} },`).join(' '));
  const singles = SINGLE.map((label) => {
    const codes = range(0x80, 0xff).map((byte) => one(decode(label, byte)));
    const lines = [];
    for (let i = 0; i < 128; i += 16) lines.push(`\t\tu"${codes.slice(i, i + 16).map(literal).join('')}"`);
    return `\t{ "${label.toUpperCase()}",\n${lines.join('\n')} },\n`;
  });
  return `/* codec/indexes.c -- made by spec/mail/whatwg/make.mjs; do not edit.
 *
 * The data are those of the Encoding Standard, https://encoding.spec.whatwg.org/, Copyright (c) WHATWG (Apple, Google,
 * Mozilla, Microsoft), BSD-3-Clause; the text of that licence is in debian/copyright. */
#include "codec/indexes.h"

${array('mm_index_jis0208', pairs('shift_jis', range(0x81, 0x9f, 0xe0, 0xfc), sjis_trails),
    'the whole of Shift_JIS, 188 to a lead byte; its pointers below 8836 are those of JIS X 0208, 94 to a row')}
${array('mm_index_jis0212', pairs('euc-jp', range(0xa1, 0xfe), range(0xa1, 0xfe), [0x8f]),
    'JIS X 0212, 94 to a row')}
${array('mm_index_euc_kr', pairs('euc-kr', range(0x81, 0xfe), range(0x41, 0xfe)), 'EUC-KR, 190 to a lead byte')}
${array('mm_index_gb18030', pairs('gb18030', range(0x81, 0xfe), gb_trails),
    'the two-byte part of GB 18030, 190 to a lead byte')}
${array('mm_index_big5', big5, 'Big5 with HKSCS, 157 to a lead byte: the low 16 bits')}
${bitmap('mm_index_big5_plane_2', big5, 'which of them are in plane 2: bit i & 7 of byte i >> 3')}
/* the four-byte part of GB 18030 below U+10000: each range begins at a pointer and a code point */
const uint16_t mm_index_gb18030_ranges[MM_INDEX_GB18030_RANGES][2] = {
${rows.join('\n')}
};

/* bytes 0x80 to 0xFF */
const struct mm_index_single mm_index_singles[MM_INDEX_SINGLES] = {
${singles.join('')}};
`;
}

// ---- the digests ----

// FNV-1a, 32 bits, over UTF-8
function digest(state, text) {
  for (const byte of new TextEncoder().encode(text)) state = Math.imul(state ^ byte, 16777619);
  return state >>> 0;
}

const hex = (n) => n.toString(16).padStart(8, '0');

// lead and trail, then two bytes that show where reading goes on
function of_lead(label, before, after, lead) {
  let state = 2166136261;
  for (let trail = 0; trail < 256; trail++)
    state = digest(state, decode(label, before, lead, trail, after) + '\n');
  return hex(state);
}

const PAIRS = [
  ['big5', [], [0x41, 0xa4, 0x40]], ['euc-jp', [], [0x41, 0xa4, 0xa2]], ['euc-jp', [0x8f], [0x41, 0xa4, 0xa2]],
  ['euc-kr', [], [0x41, 0xb0, 0xa1]], ['gbk', [], [0x41, 0xb0, 0xa1]], ['gb18030', [], [0x31, 0x81, 0x30]],
  ['gb18030', [0x81, 0x30], []], ['gb18030', [0x84, 0x31], [0x41]], ['gb18030', [0x90, 0x30], []],
  ['shift_jis', [], [0x41, 0x82, 0xa0]], ['utf-8', [], [0x41, 0x80, 0x80]], ['utf-8', [0xe2], [0x82, 0x41]],
  ['utf-8', [0xf0], [0x82, 0x41]], ['utf-16le', [0x41, 0x00], [0x00, 0xdc, 0x42]],
  ['utf-16be', [0x00, 0x41], [0xdc, 0x00, 0x42]],
];
// ESC comes only in whole sequences with a character after each: two in a row are no error in mail
// (host/codec/whatwg.h)
const JIS = [[0x1b, 0x24, 0x42], [0x1b, 0x24, 0x40], [0x1b, 0x28, 0x4a], [0x1b, 0x28, 0x49], [0x1b, 0x28, 0x42]];

function random(seed) {
  let state = seed;
  return (n) => (state = (state * 16807) % 2147483647) % n;
}

// A text of bytes below, between and above the borders of lead and trail bytes.
function text_of(label, next) {
  const bytes = [];
  const size = 1 + next(24);
  while (bytes.length < size) {
    if (label !== 'iso-2022-jp') {
      const kind = next(4);
      bytes.push(kind === 0 ? next(128) : kind === 1 ? 0x30 + next(16) : 128 + next(128));
    } else {
      const kind = next(3);
      if (kind === 0) bytes.push(...JIS[next(5)]);
      if (kind === 1) bytes.push(0x1b, 0x78);
      bytes.push(0x21 + next(94));
      if (next(8) === 0) bytes.push(0x80 + next(128));
      if (next(8) === 0) bytes.push(next(27));
    }
  }
  return bytes;
}

const RANDOM = ['big5', 'euc-jp', 'euc-kr', 'gb18030', 'gbk', 'iso-2022-jp', 'shift_jis', 'utf-8', 'utf-16le', 'utf-16be'];
const TEXTS = 200, GROUPS = 40;

function digests(labels) {
  const out = ['--- Made by make.mjs from @exodus/bytes; whatwg_spec.lua compares. Digests are FNV-1a of UTF-8.', 'return {',
    '  -- label, bytes before lead and trail, bytes after them, a digest for each lead byte', '  pairs = {'];
  const rows = [...PAIRS, ...JIS.map((escape) => ['iso-2022-jp', escape, [0x21, 0x21, 0x1b, 0x28, 0x42, 0x41]])];
  const bytes = (list) => '"' + list.map((b) => '\\' + String(b).padStart(3, '0')).join('') + '"';
  const block = (list) => {
    for (let i = 0; i < list.length; i += 12) out.push('      ' + list.slice(i, i + 12).join(' '));
  };
  for (const [label, before, after] of rows) {
    const is_jis = label === 'iso-2022-jp';
    out.push(`    { "${label}", ${bytes(before)}, ${bytes(after)}, [[`);
    block(range(0, 255).map((lead) => (is_jis ? of_lead_jis(before, after, lead) : of_lead(label, before, after, lead))));
    out.push('    ]] },');
  }
  out.push('  },', '  -- label, a digest for all bytes from 0x00 to 0xFF, each in a text of its own', '  singles = {');
  for (const label of [...SINGLE, 'windows-1258', 'iso-8859-8-i']) {
    let state = 2166136261;
    for (let byte = 0; byte < 256; byte++) state = digest(state, decode(label, byte) + '\n');
    out.push(`    { "${label}", "${hex(state)}" },`);
  }
  out.push('  },', `  -- label, digests of groups of ${TEXTS} random texts`, `  texts = ${TEXTS}, random = {`);
  for (const label of RANDOM) {
    const next = random(20261130);
    out.push(`    { "${label}", [[`);
    block(range(1, GROUPS).map(() => {
      let state = 2166136261;
      for (let i = 0; i < TEXTS; i++) state = digest(state, decode(label, text_of(label, next)) + '\n');
      return hex(state);
    }));
    out.push('    ]] },');
  }
  out.push('  },', '  -- every label of the Standard, by the name of its encoding', '  labels = {');
  for (const [name, list] of labels) {
    out.push(`    ["${name}"] = [[`);
    for (let i = 0; i < list.length; i += 6) out.push('      ' + list.slice(i, i + 6).join(' '));
    out.push('    ]],');
  }
  out.push('  },', '}', '');
  return out.join('\n');
}

// As of_lead, without pairs that have ESC.
function of_lead_jis(before, after, lead) {
  let state = 2166136261;
  for (let trail = 0; trail < 256; trail++)
    state = digest(state, (lead === 0x1b || trail === 0x1b ? '' : decode('iso-2022-jp', before, lead, trail, after)) + '\n');
  return hex(state);
}

// The package's table of labels, without those of its own that the Standard lacks: TextDecoder decides.
async function labels() {
  const { labelToName } = await import(pathToFileURL(from.resolve('@exodus/bytes/encoding.js'))).catch(() => ({}));
  const path = join(from.resolve('@exodus/bytes/encoding.js'), '../fallback/encoding.labels.js');
  const table = (await import(pathToFileURL(path))).default;
  const list = Object.entries(table).map(([name, more]) => [name, [...new Set([name, ...more])].sort()]);
  for (const [name, all] of list)
    for (const label of all) if (labelToName(label)?.toLowerCase() !== name) throw new Error(`${label} is not ${name}`);
  return list;
}

writeFileSync(join(top, 'host/codec/indexes.c'), indexes());
const all = await labels();
writeFileSync(join(top, 'spec/mail/whatwg/digests.lua'), digests(all));
console.log(`${all.reduce((n, [, list]) => n + list.length, 0)} labels`);
