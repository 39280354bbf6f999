// What the Node.js adapters share: requests in, answers out. matrix/adapters.py says what each request means.

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

export const LIMIT = 30_000

// What the client does not offer.
export class Absent extends Error {}

// An error with the client's own name for it.
export class Told extends Error {
  constructor (name, message) {
    super(message)
    this.name = name
  }
}

export const encode = data => (data == null ? null : data.toString('base64'))
export const decode = text => (text == null ? null : Buffer.from(text, 'base64'))
export const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds))

export function version (module) {
  return createRequire(import.meta.url)(`./node_modules/${module}/package.json`).version
}

// Waits until `done()`, for as long as any request may take.
export async function until (done) {
  const end = Date.now() + LIMIT
  while (!done() && Date.now() < end) await sleep(20)
}

// `adapter` has a function for each operation; `name` finds the client's name for an error.
export async function serve (hello, adapter, name) {
  const say = answer => process.stdout.write(JSON.stringify(answer) + '\n')
  // What a client prints of its own goes to the log.
  console.log = console.error
  say(hello)
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    try {
      if (!adapter[request.op]) throw new Absent('the client has no such function')
      say({ ok: (await adapter[request.op](request)) ?? null })
    } catch (error) {
      if (error instanceof TypeError || error instanceof ReferenceError) {
        // No client has its users meet these.
        console.error(error)
        say({ broken: String(error) })
      } else if (error instanceof Absent) say({ absent: error.message })
      else if (error instanceof Told) say({ error: error.name, message: error.message })
      else say(name(error))
    }
  }
  process.exit(0)
}
