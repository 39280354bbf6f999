// Sarama.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"esker/clients/adapter"

	"github.com/IBM/sarama"
)

type client struct {
	bootstrap []string
	members   map[string]*member
}

// member is a consumer group's session, and what it read that nobody asked for yet.
type member struct {
	group    sarama.ConsumerGroup
	cancel   context.CancelFunc
	ended    chan struct{}
	records  chan adapter.Record
	lock     sync.Mutex
	assigned map[int32]bool
	lost     []int32
	session  sarama.ConsumerGroupSession
	topic    string
	failed   error
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.session = session
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.session = nil
	return nil
}

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	// A cooperative session stays while its claims come and go.
	m.hold(claim.Partition(), true)
	defer m.hold(claim.Partition(), false)
	for {
		select {
		case one, open := <-claim.Messages():
			if !open {
				return nil
			}
			select {
			case m.records <- show(one):
			case <-session.Context().Done():
				return nil
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *member) hold(partition int32, held bool) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if held {
		m.assigned[partition] = true
	} else {
		delete(m.assigned, partition)
		m.lost = append(m.lost, partition)
	}
}

func (m *member) run(ctx context.Context) {
	defer close(m.ended)
	for ctx.Err() == nil {
		if err := m.group.Consume(ctx, []string{m.topic}, m); err != nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
			m.lock.Lock()
			m.failed = err
			m.lock.Unlock()
		}
	}
}

var codecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

var strategies = map[string]func() sarama.BalanceStrategy{
	"range": sarama.NewBalanceStrategyRange, "roundrobin": sarama.NewBalanceStrategyRoundRobin,
	"sticky": sarama.NewBalanceStrategySticky, "cooperative-sticky": sarama.NewBalanceStrategyCooperativeSticky,
}

// config asks for the newest protocol that the client knows of.
func config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	c.Producer.Return.Successes = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Flush.Frequency = 50 * time.Millisecond
	c.Producer.MaxMessageBytes = 2_000_000
	c.Consumer.Return.Errors = true
	return c
}

func named(err error) error {
	var code sarama.KError
	if errors.As(err, &code) {
		// "kafka server: The request was ...": the client has no shorter name, so its Go constant's number is shown.
		text, _, _ := strings.Cut(strings.TrimPrefix(code.Error(), "kafka server: "), ".")
		return adapter.Named{Name: fmt.Sprintf("KError %d", int16(code)), Err: fmt.Errorf("%s (%w)", text, err)}
	}
	return err
}

func (c *client) answer(r adapter.Request) (any, error) {
	value, err := c.do(r)
	return value, named(err)
}

func (c *client) do(r adapter.Request) (any, error) {
	switch r.Op {
	case "create", "describe", "configure", "grow", "delete":
		admin, err := sarama.NewClusterAdmin(c.bootstrap, config())
		if err != nil {
			return nil, err
		}
		defer admin.Close()
		return administer(admin, r)
	case "produce":
		return c.produce(r, config())
	case "consume":
		return c.consume(r)
	case "time":
		one, err := sarama.NewClient(c.bootstrap, config())
		if err != nil {
			return nil, err
		}
		defer one.Close()
		offset, err := one.GetOffset(r.Topic, r.Partition, r.Timestamp)
		if offset < 0 {
			return nil, err
		}
		return offset, err
	case "join":
		return nil, c.join(r)
	case "poll":
		return c.members[r.Member].poll()
	case "commit":
		one := c.members[r.Member]
		one.lock.Lock()
		defer one.lock.Unlock()
		for partition, offset := range adapter.Partitions(r.Offsets) {
			one.session.MarkOffset(one.topic, partition, offset, "")
		}
		one.session.Commit()
		return nil, nil
	case "leave":
		one := c.members[r.Member]
		delete(c.members, r.Member)
		one.cancel()
		<-one.ended
		return nil, one.group.Close()
	case "ancient":
		old := config()
		old.Version, old.ApiVersionsRequest = sarama.V0_9_0_0, false
		partition := int32(0)
		r.Codec, r.Records = "none", []adapter.Record{{Partition: &partition, Value: []byte("v")}}
		return c.produce(r, old)
	}
	return nil, adapter.Absent("the client has no such function")
}

func administer(admin sarama.ClusterAdmin, r adapter.Request) (any, error) {
	switch r.Op {
	case "create":
		detail := &sarama.TopicDetail{NumPartitions: r.Partitions, ReplicationFactor: -1, ConfigEntries: map[string]*string{}}
		for key, value := range r.Configs {
			detail.ConfigEntries[key] = &value
		}
		return nil, admin.CreateTopic(r.Topic, detail, false)
	case "configure":
		entries := map[string]sarama.IncrementalAlterConfigsEntry{}
		for key, value := range r.Configs {
			entries[key] = sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
		}
		return nil, admin.IncrementalAlterConfig(sarama.TopicResource, r.Topic, entries, false)
	case "grow":
		return nil, admin.CreatePartitions(r.Topic, r.Partitions, nil, false)
	case "delete":
		return nil, admin.DeleteTopic(r.Topic)
	}
	found, err := admin.DescribeTopics([]string{r.Topic})
	if err != nil {
		return nil, err
	}
	if found[0].Err != sarama.ErrNoError {
		return nil, found[0].Err
	}
	entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: r.Topic})
	configs := map[string]string{}
	for _, entry := range entries {
		configs[entry.Name] = entry.Value
	}
	return adapter.Described{Partitions: len(found[0].Partitions), Configs: configs}, err
}

func (c *client) produce(r adapter.Request, config *sarama.Config) (any, error) {
	config.Producer.Compression = codecs[r.Codec]
	config.Producer.Idempotent = r.Idempotent
	if r.Idempotent {
		config.Net.MaxOpenRequests = 1
	}
	if len(r.Records) > 0 && r.Records[0].Partition != nil {
		config.Producer.Partitioner = sarama.NewManualPartitioner
	}
	producer, err := sarama.NewSyncProducer(c.bootstrap, config)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	var messages []*sarama.ProducerMessage
	for _, one := range r.Records {
		message := &sarama.ProducerMessage{Topic: r.Topic, Timestamp: time.UnixMilli(one.Timestamp)}
		if one.Partition != nil {
			message.Partition = *one.Partition
		}
		// A nil encoder is null, an empty one is empty.
		if one.Key != nil {
			message.Key = sarama.ByteEncoder(one.Key)
		}
		if one.Value != nil {
			message.Value = sarama.ByteEncoder(one.Value)
		}
		for _, header := range one.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
		}
		messages = append(messages, message)
	}
	if err := producer.SendMessages(messages); err != nil {
		var several sarama.ProducerErrors
		if errors.As(err, &several) {
			return nil, several[0].Err
		}
		return nil, err
	}
	var answers []adapter.At
	for _, message := range messages {
		answers = append(answers, adapter.At{int64(message.Partition), message.Offset})
	}
	return answers, nil
}

func (c *client) consume(r adapter.Request) (any, error) {
	consumer, err := sarama.NewConsumer(c.bootstrap, config())
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	records := make(chan adapter.Record)
	failures := make(chan error)
	done := make(chan struct{})
	defer close(done)
	for number, offset := range adapter.Partitions(r.From) {
		partition, err := consumer.ConsumePartition(r.Topic, number, offset)
		if err != nil {
			return nil, err
		}
		defer partition.AsyncClose()
		go func() {
			for {
				select {
				case one, open := <-partition.Messages():
					if !open {
						return
					}
					select {
					case records <- show(one):
					case <-done:
						return
					}
				case failed := <-partition.Errors():
					if failed == nil {
						return
					}
					select {
					case failures <- failed.Err:
					case <-done:
					}
				case <-done:
					return
				}
			}
		}()
	}
	found := []adapter.Record{}
	late := time.After(adapter.Limit)
	for len(found) < r.Count {
		select {
		case one := <-records:
			found = append(found, one)
		case err := <-failures:
			return nil, err
		case <-late:
			return found, nil
		}
	}
	return found, nil
}

func (c *client) join(r adapter.Request) error {
	if r.Protocol != "classic" {
		return adapter.Absent("Sarama has no group.protocol=consumer")
	}
	conf := config()
	conf.Consumer.Offsets.AutoCommit.Enable = false
	conf.Consumer.Offsets.Initial = sarama.OffsetOldest
	conf.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategies[r.Assignor]()}
	if r.Instance != nil {
		conf.Consumer.Group.InstanceId = *r.Instance
	}
	group, err := sarama.NewConsumerGroup(c.bootstrap, r.Group, conf)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	one := &member{group: group, cancel: cancel, ended: make(chan struct{}), records: make(chan adapter.Record, 100), topic: r.Topic,
		assigned: map[int32]bool{}}
	go func() {
		for range group.Errors() {
		}
	}()
	go one.run(ctx)
	c.members[r.Member] = one
	return nil
}

func (m *member) poll() (any, error) {
	answer := adapter.Polled{Records: []adapter.Record{}, Assigned: []int32{}, Lost: []int32{}}
	late := time.After(200 * time.Millisecond)
	for {
		select {
		case one := <-m.records:
			answer.Records = append(answer.Records, one)
			continue
		case <-late:
		}
		m.lock.Lock()
		defer m.lock.Unlock()
		for partition := range m.assigned {
			answer.Assigned = append(answer.Assigned, partition)
		}
		slices.Sort(answer.Assigned)
		answer.Lost, m.lost = append(answer.Lost, m.lost...), nil
		return answer, m.failed
	}
}

func show(one *sarama.ConsumerMessage) adapter.Record {
	shown := adapter.Record{Partition: &one.Partition, Offset: one.Offset, Timestamp: one.Timestamp.UnixMilli(),
		Key: one.Key, Value: one.Value, Headers: []adapter.Header{}}
	for _, header := range one.Headers {
		shown.Headers = append(shown.Headers, adapter.Header{Name: string(header.Key), Value: header.Value})
	}
	return shown
}

func main() {
	c := client{bootstrap: os.Args[1:2], members: map[string]*member{}}
	adapter.Serve(adapter.Hello{Client: "sarama", Version: "github.com/IBM/sarama", Empty: true}, c.answer)
}
