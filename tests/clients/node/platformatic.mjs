// @platformatic/kafka. As with KafkaJS, every reader is in a group; a stream in manual mode reads from given offsets.

import * as api from '@platformatic/kafka'
import { randomUUID } from 'node:crypto'
import { Absent, decode, encode, serve, sleep, until, version } from './adapter.mjs'

const { Admin, Consumer, Producer } = api
const base = { clientId: 'adapter', bootstrapBrokers: [process.argv[2]], autocreateTopics: false, retries: 3, timeout: 10_000 }
const admin = new Admin(base)
const members = new Map()
const TOPIC = api.ConfigResourceTypes.TOPIC
const ASSIGNORS = {
  roundrobin: api.roundRobinAssigner,
  'cooperative-sticky': api.cooperativeStickyAssigner
}

function messageOf (topic, record) {
  // A map tells buffers apart by identity, so a name may come twice, in order.
  const headers = new Map(record.headers.map(([name, value]) => [Buffer.from(name), decode(value)]))
  return { topic, partition: record.partition ?? undefined, key: decode(record.key) ?? undefined, value: decode(record.value) ?? undefined, timestamp: BigInt(record.timestamp), headers }
}

function shown ({ partition, offset, timestamp, key, value, headerEntries }) {
  const headers = (headerEntries ?? []).map(([name, data]) => [name.toString(), encode(data)])
  return { partition, offset: Number(offset), timestamp: Number(timestamp), key: encode(key), value: encode(value), headers }
}

async function start (options, stream) {
  const member = { consumer: new Consumer({ ...base, maxWaitTime: 500, ...options }), found: [], held: [], lost: [], topic: stream.topics[0] }
  // It tells when the assignment has changed, not what is given up.
  for (const event of ['consumer:group:rebalance', 'consumer:group:join']) member.consumer.on(event, () => look(member))
  member.stream = await member.consumer.consume({ autocommit: false, ...stream })
  member.stream.on('data', message => member.found.push(shown(message)))
  member.stream.on('error', error => { member.error = error })
  return member
}

function look (member) {
  const held = (member.consumer.assignments ?? []).flatMap(({ partitions }) => partitions).sort((a, b) => a - b)
  member.lost.push(...member.held.filter(partition => !held.includes(partition)))
  member.held = held
}

async function stop ({ consumer, stream }) {
  await stream.close()
  await consumer.close(true)
}

await serve({ client: 'platformatic/kafka', version: version('@platformatic/kafka'), assignor: 'roundrobin' }, {
  async create ({ topic, partitions, configs }) {
    await admin.createTopics({ topics: [topic], partitions, replicas: -1, configs: Object.entries(configs).map(([name, value]) => ({ name, value })) })
  },
  async describe ({ topic }) {
    const [found] = await admin.describeConfigs({ resources: [{ resourceType: TOPIC, resourceName: topic }] })
    const metadata = await admin.metadata({ topics: [topic], forceUpdate: true })
    return { partitions: metadata.topics.get(topic).partitionsCount, configs: Object.fromEntries(found.configs.map(one => [one.name, one.value])) }
  },
  async configure ({ topic, configs }) {
    const changes = Object.entries(configs).map(([name, value]) => ({ name, value, configOperation: api.IncrementalAlterConfigOperationTypes.SET }))
    await admin.incrementalAlterConfigs({ resources: [{ resourceType: TOPIC, resourceName: topic, configs: changes }] })
  },
  async grow ({ topic, partitions }) {
    await admin.createPartitions({ topics: [{ name: topic, count: partitions, assignments: null }] })
  },
  async delete ({ topic }) {
    await admin.deleteTopics({ topics: [topic] })
  },
  async produce ({ topic, codec, idempotent, records }) {
    if (!api.compressionsAlgorithms[codec].available) throw new Absent(`no ${codec} in the zlib of Node.js ${process.versions.node}`)
    const producer = new Producer({ ...base, idempotent })
    try {
      await producer.send({ acks: -1, compression: codec, messages: records.map(record => messageOf(topic, record)) })
    } finally {
      await producer.close()
    }
  },
  async consume ({ topic, from, count, reset }) {
    const offsets = Object.entries(from).map(([partition, offset]) => ({ topic, partition: Number(partition), offset: BigInt(offset) }))
    const member = await start({ groupId: randomUUID() }, { topics: [topic], mode: 'manual', fallbackMode: reset === 'none' ? 'fail' : 'earliest', offsets })
    try {
      await until(() => member.found.length >= count || member.error)
      if (member.error) throw member.error
      return member.found.slice(0, count)
    } finally {
      await stop(member).catch(() => {})
    }
  },
  async time ({ topic, partition, timestamp }) {
    const [found] = await admin.listOffsets({ topics: [{ name: topic, partitions: [{ partitionIndex: partition, timestamp: BigInt(timestamp) }] }] })
    const offset = Number(found.partitions[0].offset)
    return offset < 0 ? null : offset
  },
  async join ({ member, group, topic, protocol, assignor, instance }) {
    const options = { groupId: group, ...(instance ? { groupInstanceId: instance } : {}) }
    if (protocol === 'consumer') {
      Object.assign(options, { groupProtocol: 'consumer', groupRemoteAssignor: assignor })
    } else {
      if (!ASSIGNORS[assignor]) throw new Absent(`the client has no ${assignor} assigner`)
      Object.assign(options, { sessionTimeout: 10_000, rebalanceTimeout: 10_000, heartbeatInterval: 1000, protocols: [{ name: assignor, version: 1 }], partitionAssigner: ASSIGNORS[assignor] })
    }
    members.set(member, await start(options, { topics: [topic], mode: 'committed', fallbackMode: 'earliest' }))
  },
  async poll ({ member }) {
    const one = members.get(member)
    await sleep(200)
    if (one.error) throw one.error
    look(one)
    return { records: one.found.splice(0), assigned: one.held, lost: one.lost.splice(0) }
  },
  async commit ({ member, offsets }) {
    const { consumer, topic } = members.get(member)
    await consumer.commit({ offsets: Object.entries(offsets).map(([partition, offset]) => ({ topic, partition: Number(partition), offset: BigInt(offset), leaderEpoch: -1 })) })
  },
  async leave ({ member }) {
    const one = members.get(member)
    members.delete(member)
    await stop(one)
  },
  async ancient ({ topic }) {
    const [host, port] = process.argv[2].split(':')
    const connection = new api.Connection('ancient')
    await connection.connect(host, Number(port))
    try {
      await api.createTopicsV1.api.async(connection, [{ name: `${topic}-ancient`, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }], 1000, false)
    } finally {
      await connection.close()
    }
  }
}, error => {
  // An error of a response lists those of its parts, with Kafka's name for each.
  let at = error
  while (!at.apiId && (at.errors?.[0] ?? at.cause)) at = at.errors?.[0] ?? at.cause
  if (at.code === 'PLT_KFK_UNSUPPORTED_COMPRESSION') return { absent: `Node.js ${process.versions.node} cannot read it: ${at.message}` }
  return { error: at.apiId ?? at.code ?? at.name, message: at.message }
})
