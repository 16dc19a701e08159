// The client of Plane that is in Jamsocket's command line, against a server.
//
//	node plane.js URL PROGRAM
//
// It prints what it saw, as JSON.
const { PassThrough } = require('node:stream')
const { LocalPlane } = require('jamsocket/lib/dev-server/plane.js')

async function main() {
  const [url, program] = process.argv.slice(2)
  // It thinks that it has started Plane itself.
  const server = { stdout: new PassThrough(), stderr: new PassThrough(), on() {} }
  const plane = new LocalPlane(url, server, 'none', { log() {} })

  const connected = await plane.spawn(program, {
    key: 'green', user: 'ann', auth: { role: 'editor' }, spawn: { executable: { env: { DOC_ID: '7' } } },
  })
  const statuses = []
  let ready
  const isReady = new Promise((resolve) => (ready = resolve))
  const stream = plane.streamStatus(connected.backend_id, (message) => {
    statuses.push(message.status)
    if (message.status === 'ready') ready()
  })
  await isReady
  const answer = await (await fetch(connected.url)).json()
  const again = await plane.spawn(program, { key: 'green', spawn: false })
  const refused = await plane.spawn('another/image', { key: 'red' })
  const unheld = await plane.spawn(program, { key: 'red', spawn: false })
  await plane.terminate(connected.backend_id)
  await stream.closed
  console.log(JSON.stringify({ connected, answer, again, statuses, refused: refused.message, unheld: unheld.message }))
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
