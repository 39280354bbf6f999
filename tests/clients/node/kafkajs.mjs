// KafkaJS, with the codecs that its documentation has users register.
//
// It reads only as a member of a group, so what is read by assignment is a group of its own that seeks.

import kafkajs from 'kafkajs'
import SnappyCodec from 'kafkajs-snappy'
import lz4 from 'lz4-napi'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { Absent, Told, decode, encode, serve, sleep, until, version } from './adapter.mjs'

const { Kafka, CompressionCodecs, CompressionTypes, ConfigResourceTypes, Partitioners, PartitionAssigners, logLevel } = kafkajs

CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: buffer => lz4.decompressFrame(buffer)
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zstdCompressSync(encoder.buffer),
  decompress: async buffer => zstdDecompressSync(buffer)
})

const CODECS = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }
const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.ERROR, retry: { retries: 3 } })
const members = new Map()
let connected

async function admin () {
  if (!connected) {
    connected = kafka.admin()
    await connected.connect()
  }
  return connected
}

function headersOf (record) {
  const headers = {}
  for (const [name, value] of record.headers) (headers[name] ??= []).push(decode(value))
  return headers
}

function shown (partition, message) {
  const headers = Object.entries(message.headers ?? {}).flatMap(([name, values]) =>
    [values].flat().map(value => [name, encode(value)]))
  return { partition, offset: Number(message.offset), timestamp: Number(message.timestamp), key: encode(message.key), value: encode(message.value), headers }
}

async function start (groupId, topic, options = {}) {
  const member = { consumer: kafka.consumer({ groupId, sessionTimeout: 10_000, heartbeatInterval: 1000, maxWaitTimeInMs: 500, ...options }), found: [], assigned: [], topic }
  const { GROUP_JOIN, REBALANCING, CRASH } = member.consumer.events
  member.consumer.on(GROUP_JOIN, ({ payload }) => { member.assigned = (payload.memberAssignment[topic] ?? []).sort((a, b) => a - b) })
  member.consumer.on(REBALANCING, () => { member.assigned = [] })
  member.consumer.on(CRASH, ({ payload }) => { member.error = payload.error })
  await member.consumer.connect()
  await member.consumer.subscribe({ topics: [topic], fromBeginning: true })
  await member.consumer.run({ autoCommit: false, eachMessage: async ({ partition, message }) => { member.found.push(shown(partition, message)) } })
  return member
}

await serve({ client: 'kafkajs', version: version('kafkajs'), assignor: 'roundrobin', ordered: false }, {
  async create ({ topic, partitions, configs }) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    const made = await (await admin()).createTopics({ topics: [{ topic, numPartitions: partitions, replicationFactor: -1, configEntries }] })
    if (!made) throw new Told('false', 'KafkaJS answers false where the topic exists')
  },
  async describe ({ topic }) {
    const { topics: [found] } = await (await admin()).fetchTopicMetadata({ topics: [topic] })
    const { resources: [one] } = await (await admin()).describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })
    return { partitions: found.partitions.length, configs: Object.fromEntries(one.configEntries.map(entry => [entry.configName, entry.configValue])) }
  },
  async configure ({ topic, configs }) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    await (await admin()).alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }] })
  },
  async grow ({ topic, partitions }) {
    await (await admin()).createPartitions({ topicPartitions: [{ topic, count: partitions }] })
  },
  async delete ({ topic }) {
    await (await admin()).deleteTopics({ topics: [topic] })
  },
  async produce ({ topic, codec, idempotent, records }) {
    const producer = kafka.producer({ idempotent, allowAutoTopicCreation: false, createPartitioner: Partitioners.DefaultPartitioner })
    const messages = records.map(record => ({
      key: decode(record.key),
      value: decode(record.value),
      partition: record.partition ?? undefined,
      timestamp: String(record.timestamp),
      headers: headersOf(record)
    }))
    await producer.connect()
    try {
      await producer.send({ topic, acks: -1, compression: CompressionTypes[CODECS[codec]], messages })
    } finally {
      await producer.disconnect()
    }
    return null
  },
  async consume ({ topic, from, count, reset }) {
    if (reset === 'none') throw new Absent('KafkaJS always resets')
    const member = await start(`assigned-${topic}-${Date.now()}-${Math.random()}`, topic)
    try {
      for (const [partition, offset] of Object.entries(from)) {
        member.consumer.seek({ topic, partition: Number(partition), offset: String(offset) })
      }
      await until(() => member.found.length >= count || member.error)
      if (member.error) throw member.error
      return member.found.slice(0, count)
    } finally {
      await member.consumer.disconnect()
    }
  },
  async time ({ topic, partition, timestamp }) {
    const found = await (await admin()).fetchTopicOffsetsByTimestamp(topic, timestamp)
    return Number(found.find(one => one.partition === partition).offset)
  },
  async join ({ member, group, topic, protocol, assignor, instance }) {
    if (protocol !== 'classic') throw new Absent('KafkaJS has no group.protocol=consumer')
    if (instance) throw new Absent('KafkaJS has no static members')
    if (assignor !== 'roundrobin') throw new Absent('KafkaJS has only its round robin assigner')
    members.set(member, await start(group, topic, { partitionAssigners: [PartitionAssigners.roundRobin] }))
  },
  async poll ({ member }) {
    const one = members.get(member)
    await sleep(200)
    if (one.error) throw one.error
    return { records: one.found.splice(0), assigned: one.assigned }
  },
  async commit ({ member, offsets }) {
    const { consumer, topic } = members.get(member)
    await consumer.commitOffsets(Object.entries(offsets).map(([partition, offset]) => ({ topic, partition: Number(partition), offset: String(offset) })))
  },
  async leave ({ member }) {
    const { consumer } = members.get(member)
    members.delete(member)
    await consumer.disconnect()
  }
}, error => {
  // A retriable error is wrapped once it was retried often enough, and those of topics are listed.
  while (error.errors?.[0] ?? error.originalError ?? error.cause) error = error.errors?.[0] ?? error.originalError ?? error.cause
  return { error: error.type ?? error.name, message: error.message }
})
