// The client of Jamsocket's API that is in its command line, and the checks of its
// types, against a server.
//
//	node jamsocket.js URL SECRET
//
// It prints what it saw, as JSON.
const { isConnectResponse, isBackendState } = require('@jamsocket/types')
const { JamsocketApi } = require('jamsocket/lib/api.js')
const { JamsocketConfig } = require('jamsocket/lib/jamsocket-config.js')

async function main() {
  const [url, token] = process.argv.slice(2)
  const config = new JamsocketConfig({ api_token: { account: 'acme', token } })
  const api = new JamsocketApi(url)

  const connected = await api.connect('acme', 'docs', 'default', config, { key: 'green', user: 'ann' })
  const states = []
  await new Promise((resolve, reject) => {
    const stream = api.streamStatus(connected.backend_id, (state) => {
      states.push(state)
      if (state.status === 'ready') api.terminate(connected.backend_id, true, config).catch(reject)
    })
    stream.closed.then(resolve, reject)
  })
  const raw = await (await fetch(`${url}/v2/backend/${connected.backend_id}/status/stream`)).text()
  const last = await api.status(connected.backend_id)
  const failures = {}
  const failing = {
    unheld: () => api.connect('acme', 'docs', null, config, { key: 'nobody', spawn: false }),
    unknown: () => api.status('unknown'),
    ended: () => api.terminate(connected.backend_id, false, config),
    stranger: () => api.connect('acme', 'docs', null, new JamsocketConfig({ api_token: { account: 'acme', token: 'wrong' } }), {}),
  }
  for (const [name, call] of Object.entries(failing)) {
    failures[name] = await call().then(() => 'none', (error) => `${error.name} ${error.status} ${error.code}`)
  }
  console.log(JSON.stringify({
    connected: isConnectResponse(connected),
    states: states.map((state) => (isBackendState(state) ? state.status : `no state: ${JSON.stringify(state)}`)),
    // Of other lines its library for browsers warns.
    onlyData: raw.trim().split('\n').every((line) => line === '' || line.startsWith('data:')),
    last: isBackendState(last) && last.status,
    failures,
  }))
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
