// franz-go, with its admin client kadm.
package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"esker/clients/adapter"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

type franz struct {
	seeds   kgo.Opt
	admin   *kadm.Client
	members map[string]*member
}

// member is a client in a group, and what it holds.
type member struct {
	client *kgo.Client
	lock   sync.Mutex
	held   map[int32]bool
	lost   []int32
}

func (m *member) hold(lost bool) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, moved map[string][]int32) {
		m.lock.Lock()
		defer m.lock.Unlock()
		for _, partitions := range moved {
			for _, partition := range partitions {
				if lost {
					delete(m.held, partition)
					m.lost = append(m.lost, partition)
				} else {
					m.held[partition] = true
				}
			}
		}
	}
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

var balancers = map[string]kgo.GroupBalancer{
	"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(),
	"sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer(),
}

var serverBalancers = map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "uniform": kgo.StickyBalancer()}

func named(err error) error {
	var known *kerr.Error
	if errors.As(err, &known) {
		return adapter.Named{Name: known.Message, Err: err}
	}
	return err
}

func (f *franz) answer(r adapter.Request) (any, error) {
	value, err := f.do(r)
	return value, named(err)
}

func (f *franz) do(r adapter.Request) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), adapter.Limit)
	defer cancel()
	switch r.Op {
	case "create":
		configs := map[string]*string{}
		for key, value := range r.Configs {
			configs[key] = &value
		}
		_, err := f.admin.CreateTopic(ctx, r.Partitions, -1, configs, r.Topic)
		return nil, err
	case "describe":
		return f.describe(ctx, r)
	case "configure":
		var changes []kadm.AlterConfig
		for key, value := range r.Configs {
			changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: &value})
		}
		answers, err := f.admin.AlterTopicConfigs(ctx, changes, r.Topic)
		if err != nil {
			return nil, err
		}
		return nil, answers[0].Err
	case "grow":
		answers, err := f.admin.UpdatePartitions(ctx, int(r.Partitions), r.Topic)
		if err != nil {
			return nil, err
		}
		return nil, answers[r.Topic].Err
	case "delete":
		answers, err := f.admin.DeleteTopics(ctx, r.Topic)
		if err != nil {
			return nil, err
		}
		return nil, answers[r.Topic].Err
	case "produce":
		return f.produce(ctx, r)
	case "consume":
		return f.consume(ctx, r)
	case "time":
		listed, err := f.admin.ListOffsetsAfterMilli(ctx, r.Timestamp, r.Topic)
		if err != nil {
			return nil, err
		}
		found, _ := listed.Lookup(r.Topic, r.Partition)
		return found.Offset, found.Err
	case "join":
		return nil, f.join(r)
	case "poll":
		return f.poll(r)
	case "commit":
		offsets := map[string]map[int32]kgo.EpochOffset{}
		client := f.members[r.Member].client
		topic := client.GetConsumeTopics()[0]
		offsets[topic] = map[int32]kgo.EpochOffset{}
		for partition, offset := range adapter.Partitions(r.Offsets) {
			offsets[topic][partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
		}
		var failed error
		client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
			failed = err
		})
		return nil, failed
	case "leave":
		one := f.members[r.Member]
		delete(f.members, r.Member)
		// Close leaves the group unless the member is static.
		one.client.Close()
		return nil, nil
	case "ancient":
		partition := int32(0)
		r.Codec = "none"
		r.Records = []adapter.Record{{Partition: &partition, Value: []byte("v")}}
		return f.produce(ctx, r, kgo.MaxVersions(kversion.V0_10_0()), kgo.RecordRetries(1), kgo.RequestRetries(1))
	}
	return nil, adapter.Absent("the client has no such function")
}

func (f *franz) describe(ctx context.Context, r adapter.Request) (any, error) {
	topics, err := f.admin.ListTopics(ctx, r.Topic)
	if err != nil {
		return nil, err
	}
	if err := topics[r.Topic].Err; err != nil {
		return nil, err
	}
	answers, err := f.admin.DescribeTopicConfigs(ctx, r.Topic)
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for _, one := range answers[0].Configs {
		configs[one.Key] = one.MaybeValue()
	}
	return adapter.Described{Partitions: len(topics[r.Topic].Partitions), Configs: configs}, answers[0].Err
}

func (f *franz) produce(ctx context.Context, r adapter.Request, more ...kgo.Opt) (any, error) {
	manual := len(r.Records) > 0 && r.Records[0].Partition != nil
	options := append(more, f.seeds, kgo.ProducerLinger(50*time.Millisecond),
		kgo.ProducerBatchMaxBytes(2_000_000), kgo.ProducerBatchCompression(codecs[r.Codec]))
	if manual {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	if !r.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var records []*kgo.Record
	for _, one := range r.Records {
		record := &kgo.Record{Topic: r.Topic, Key: one.Key, Value: one.Value, Timestamp: time.UnixMilli(one.Timestamp)}
		if manual {
			record.Partition = *one.Partition
		}
		for _, header := range one.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
		}
		records = append(records, record)
	}
	var answers []adapter.At
	for _, done := range client.ProduceSync(ctx, records...) {
		if done.Err != nil {
			return nil, done.Err
		}
		answers = append(answers, adapter.At{int64(done.Record.Partition), done.Record.Offset})
	}
	return answers, nil
}

func (f *franz) consume(ctx context.Context, r adapter.Request) (any, error) {
	start := map[int32]kgo.Offset{}
	for partition, offset := range adapter.Partitions(r.From) {
		start[partition] = kgo.NewOffset().At(offset)
	}
	options := []kgo.Opt{f.seeds, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: start})}
	if r.Reset == "none" {
		options = append(options, kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	found := []adapter.Record{}
	for len(found) < r.Count {
		fetched := client.PollRecords(ctx, r.Count-len(found))
		if ctx.Err() != nil {
			break
		}
		if err := fetched.Err(); err != nil {
			return nil, err
		}
		fetched.EachRecord(func(one *kgo.Record) { found = append(found, show(one)) })
	}
	return found, nil
}

func (f *franz) join(r adapter.Request) error {
	one := &member{held: map[int32]bool{}}
	options := []kgo.Opt{f.seeds, kgo.ConsumerGroup(r.Group), kgo.ConsumeTopics(r.Topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(10 * time.Second),
		kgo.OnPartitionsAssigned(one.hold(false)), kgo.OnPartitionsRevoked(one.hold(true)), kgo.OnPartitionsLost(one.hold(true))}
	if r.Instance != nil {
		options = append(options, kgo.InstanceID(*r.Instance))
	}
	if r.Protocol == "classic" {
		options = append(options, kgo.Balancers(balancers[r.Assignor]))
	} else {
		// The broker's assignor is the one of the balancer's kind; with any other the protocol stays the classic one.
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(serverBalancers[r.Assignor]))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	one.client = client
	f.members[r.Member] = one
	return nil
}

func (f *franz) poll(r adapter.Request) (any, error) {
	one := f.members[r.Member]
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	fetched := one.client.PollRecords(ctx, 100)
	answer := adapter.Polled{Records: []adapter.Record{}, Assigned: []int32{}, Lost: []int32{}}
	for _, failed := range fetched.Errors() {
		if !errors.Is(failed.Err, context.DeadlineExceeded) {
			return nil, failed.Err
		}
	}
	fetched.EachRecord(func(record *kgo.Record) { answer.Records = append(answer.Records, show(record)) })
	one.lock.Lock()
	defer one.lock.Unlock()
	for partition := range one.held {
		answer.Assigned = append(answer.Assigned, partition)
	}
	slices.Sort(answer.Assigned)
	answer.Lost, one.lost = append(answer.Lost, one.lost...), nil
	return answer, nil
}

func show(one *kgo.Record) adapter.Record {
	shown := adapter.Record{Partition: &one.Partition, Offset: one.Offset, Timestamp: one.Timestamp.UnixMilli(),
		Key: one.Key, Value: one.Value, Headers: []adapter.Header{}}
	for _, header := range one.Headers {
		shown.Headers = append(shown.Headers, adapter.Header{Name: header.Key, Value: header.Value})
	}
	return shown
}

func main() {
	seeds := kgo.SeedBrokers(os.Args[1])
	client, err := kgo.NewClient(seeds)
	if err != nil {
		panic(err)
	}
	f := franz{seeds: seeds, admin: kadm.NewClient(client), members: map[string]*member{}}
	adapter.Serve(adapter.Hello{Client: "franz-go", Version: "github.com/twmb/franz-go", Empty: true}, f.answer)
}
