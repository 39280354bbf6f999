// segmentio/kafka-go: its Writer, its Reader, and its ConsumerGroup below the Reader, which shows what was assigned.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"esker/clients/adapter"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
)

type client struct {
	bootstrap string
	addr      net.Addr
	members   map[string]*member
}

// member is a group's generation after generation, and what it read that nobody asked for yet.
type member struct {
	bootstrap  string
	topic      string
	group      *kafka.ConsumerGroup
	cancel     context.CancelFunc
	records    chan adapter.Record
	lock       sync.Mutex
	generation *kafka.Generation
	assigned   []int32
}

func (m *member) run(ctx context.Context) {
	for ctx.Err() == nil {
		generation, err := m.group.Next(ctx)
		if err != nil {
			continue
		}
		m.lock.Lock()
		m.generation, m.assigned = generation, nil
		for _, one := range generation.Assignments[m.topic] {
			m.assigned = append(m.assigned, int32(one.ID))
			generation.Start(func(ctx context.Context) { m.read(ctx, one) })
		}
		slices.Sort(m.assigned)
		m.lock.Unlock()
		generation.Start(func(ctx context.Context) {
			<-ctx.Done()
			m.lock.Lock()
			defer m.lock.Unlock()
			m.assigned = nil
		})
	}
}

func (m *member) read(ctx context.Context, at kafka.PartitionAssignment) {
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{m.bootstrap}, Topic: m.topic, Partition: at.ID, MaxWait: time.Second})
	defer reader.Close()
	if reader.SetOffset(at.Offset) != nil {
		return
	}
	for {
		message, err := reader.ReadMessage(ctx)
		if err != nil {
			return
		}
		select {
		case m.records <- show(message):
		case <-ctx.Done():
			return
		}
	}
}

var codecs = map[string]kafka.Compression{
	"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

var balancers = map[string]kafka.GroupBalancer{"range": kafka.RangeGroupBalancer{}, "roundrobin": kafka.RoundRobinGroupBalancer{}}

func named(err error) error {
	var code kafka.Error
	if errors.As(err, &code) {
		return adapter.Named{Name: code.Title(), Err: err}
	}
	return err
}

func (c *client) answer(r adapter.Request) (any, error) {
	value, err := c.do(r)
	return value, named(err)
}

func (c *client) do(r adapter.Request) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), adapter.Limit)
	defer cancel()
	switch r.Op {
	case "create", "describe", "configure", "grow", "delete":
		// What is known of topics is kept by the transport: a new one knows of what was made a moment ago.
		transport := &kafka.Transport{}
		defer transport.CloseIdleConnections()
		return c.administer(ctx, &kafka.Client{Addr: c.addr, Transport: transport}, r)
	case "produce":
		return c.produce(ctx, r)
	case "consume":
		return c.consume(ctx, r)
	case "time":
		conn, err := kafka.DialLeader(ctx, "tcp", c.bootstrap, r.Topic, int(r.Partition))
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		offset, err := conn.ReadOffset(time.UnixMilli(r.Timestamp))
		if offset < 0 {
			return nil, err
		}
		return offset, err
	case "join":
		return nil, c.join(r)
	case "poll":
		return c.members[r.Member].poll(), nil
	case "commit":
		one := c.members[r.Member]
		one.lock.Lock()
		defer one.lock.Unlock()
		offsets := map[int]int64{}
		for partition, offset := range adapter.Partitions(r.Offsets) {
			offsets[int(partition)] = offset
		}
		return nil, one.generation.CommitOffsets(map[string]map[int]int64{one.topic: offsets})
	case "leave":
		one := c.members[r.Member]
		delete(c.members, r.Member)
		one.cancel()
		return nil, one.group.Close()
	case "ancient":
		return nil, c.ancient(ctx, r)
	}
	return nil, adapter.Absent("the client has no such function")
}

// ancient produces as clients of 2016 did, by the package below the Writer, which always asks for the broker's versions.
func (c *client) ancient(ctx context.Context, r adapter.Request) error {
	var dialer net.Dialer
	socket, err := dialer.DialContext(ctx, "tcp", c.bootstrap)
	if err != nil {
		return err
	}
	defer socket.Close()
	if err := socket.SetDeadline(time.Now().Add(adapter.Limit)); err != nil {
		return err
	}
	old := protocol.NewConn(socket, "ancient")
	old.SetVersions(map[protocol.ApiKey]int16{protocol.Produce: 2})
	one := protocol.Record{Value: protocol.NewBytes([]byte("v"))}
	records := protocol.RecordSet{Version: 1, Records: protocol.NewRecordReader(one)}
	_, err = old.RoundTrip(&produce.Request{Acks: -1, Timeout: 1000, Topics: []produce.RequestTopic{{
		Topic: r.Topic, Partitions: []produce.RequestPartition{{RecordSet: records}}}}})
	return err
}

func (c *client) administer(ctx context.Context, admin *kafka.Client, r adapter.Request) (any, error) {
	switch r.Op {
	case "create":
		made := kafka.TopicConfig{Topic: r.Topic, NumPartitions: int(r.Partitions), ReplicationFactor: 1}
		for key, value := range r.Configs {
			made.ConfigEntries = append(made.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: value})
		}
		answer, err := admin.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{made}})
		if err != nil {
			return nil, err
		}
		return nil, answer.Errors[r.Topic]
	case "configure":
		resource := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: r.Topic}
		for key, value := range r.Configs {
			resource.Configs = append(resource.Configs, kafka.IncrementalAlterConfigsRequestConfig{
				Name: key, Value: value, ConfigOperation: kafka.ConfigOperationSet})
		}
		answer, err := admin.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
			Resources: []kafka.IncrementalAlterConfigsRequestResource{resource}})
		if err != nil {
			return nil, err
		}
		return nil, answer.Resources[0].Error
	case "grow":
		answer, err := admin.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
			Topics: []kafka.TopicPartitionsConfig{{Name: r.Topic, Count: r.Partitions}}})
		if err != nil {
			return nil, err
		}
		return nil, answer.Errors[r.Topic]
	case "delete":
		answer, err := admin.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{r.Topic}})
		if err != nil {
			return nil, err
		}
		return nil, answer.Errors[r.Topic]
	}
	found, err := admin.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{r.Topic}})
	if err != nil {
		return nil, err
	}
	if found.Topics[0].Error != nil {
		return nil, found.Topics[0].Error
	}
	answer, err := admin.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: r.Topic}}})
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for _, entry := range answer.Resources[0].ConfigEntries {
		configs[entry.ConfigName] = entry.ConfigValue
	}
	return adapter.Described{Partitions: len(found.Topics[0].Partitions), Configs: configs}, answer.Resources[0].Error
}

func (c *client) produce(ctx context.Context, r adapter.Request) (any, error) {
	if r.Idempotent {
		return nil, adapter.Absent("kafka-go has no idempotent producer")
	}
	var lock sync.Mutex
	answers := []adapter.At{}
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	writer := &kafka.Writer{Addr: c.addr, Transport: transport, Topic: r.Topic, Balancer: &kafka.Hash{}, RequiredAcks: kafka.RequireAll,
		Compression: codecs[r.Codec], BatchTimeout: 50 * time.Millisecond, BatchSize: 1000, BatchBytes: 2_000_000, MaxAttempts: 3,
		Completion: func(messages []kafka.Message, _ error) {
			lock.Lock()
			defer lock.Unlock()
			for _, one := range messages {
				answers = append(answers, adapter.At{int64(one.Partition), one.Offset})
			}
		}}
	if len(r.Records) > 0 && r.Records[0].Partition != nil {
		next := 0
		writer.Balancer = kafka.BalancerFunc(func(kafka.Message, ...int) int {
			next++
			return int(*r.Records[next-1].Partition)
		})
	}
	defer writer.Close()
	var messages []kafka.Message
	for _, one := range r.Records {
		message := kafka.Message{Key: one.Key, Value: one.Value, Time: time.UnixMilli(one.Timestamp)}
		for _, header := range one.Headers {
			message.Headers = append(message.Headers, kafka.Header{Key: header.Name, Value: header.Value})
		}
		messages = append(messages, message)
	}
	if err := writer.WriteMessages(ctx, messages...); err != nil {
		var several kafka.WriteErrors
		if errors.As(err, &several) {
			for _, one := range several {
				if one != nil {
					return nil, one
				}
			}
		}
		return nil, err
	}
	lock.Lock()
	defer lock.Unlock()
	return answers, nil
}

func (c *client) consume(ctx context.Context, r adapter.Request) (any, error) {
	found := []adapter.Record{}
	for partition, offset := range adapter.Partitions(r.From) {
		reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{c.bootstrap}, Topic: r.Topic, Partition: int(partition),
			MaxWait: time.Second, OffsetOutOfRangeError: r.Reset == "none"})
		defer reader.Close()
		if err := reader.SetOffset(offset); err != nil {
			return nil, err
		}
		for range r.Count / len(r.From) {
			message, err := reader.ReadMessage(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				return found, nil
			}
			if err != nil {
				return nil, err
			}
			found = append(found, show(message))
		}
	}
	return found, nil
}

func (c *client) join(r adapter.Request) error {
	balancer, known := balancers[r.Assignor]
	if r.Protocol != "classic" {
		return adapter.Absent("kafka-go has no group.protocol=consumer")
	}
	if !known {
		return adapter.Absent(fmt.Sprintf("kafka-go has no %s assignor", r.Assignor))
	}
	if r.Instance != nil {
		return adapter.Absent("kafka-go has no static members")
	}
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: r.Group, Brokers: []string{c.bootstrap}, Topics: []string{r.Topic},
		GroupBalancers: []kafka.GroupBalancer{balancer}, StartOffset: kafka.FirstOffset, SessionTimeout: 10 * time.Second,
		JoinGroupBackoff: time.Second})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	one := &member{bootstrap: c.bootstrap, topic: r.Topic, group: group, cancel: cancel, records: make(chan adapter.Record, 100)}
	go one.run(ctx)
	c.members[r.Member] = one
	return nil
}

func (m *member) poll() any {
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
		answer.Assigned = append(answer.Assigned, m.assigned...)
		return answer
	}
}

func show(one kafka.Message) adapter.Record {
	partition := int32(one.Partition)
	shown := adapter.Record{Partition: &partition, Offset: one.Offset, Timestamp: one.Time.UnixMilli(),
		Key: one.Key, Value: one.Value, Headers: []adapter.Header{}}
	for _, header := range one.Headers {
		shown.Headers = append(shown.Headers, adapter.Header{Name: header.Key, Value: header.Value})
	}
	return shown
}

func main() {
	c := client{bootstrap: os.Args[1], addr: kafka.TCP(os.Args[1]), members: map[string]*member{}}
	adapter.Serve(adapter.Hello{Client: "kafka-go", Version: "github.com/segmentio/kafka-go", Empty: false}, c.answer)
}
