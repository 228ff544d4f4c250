// What postal-mime sees in each message of a directory: a line "name reader parts". Needs npm's postal-mime.
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const from = createRequire(join(process.cwd(), 'package.json'));
const { default: cjs } = await import(pathToFileURL(from.resolve('postal-mime')));
const PostalMime = cjs.default ?? cjs;
for (const name of readdirSync(process.argv[2]).sort()) {
  let found = [];
  try {
    const email = await PostalMime.parse(readFileSync(join(process.argv[2], name)));
    if (email.text !== undefined || email.html !== undefined) found.push('other');
    for (const { content } of email.attachments) {
      const bytes = new Uint8Array(content instanceof ArrayBuffer ? content : new TextEncoder().encode(content));
      found.push(bytes[0] === 0x4d && bytes[1] === 0x5a && bytes[2] === 0x90 && bytes[3] === 0 ? 'program' : 'other');
    }
  } catch (problem) {
    found = [`!${problem.name}`];
  }
  console.log([name, 'postal-mime', ...found].join(' '));
}
