// Package adapter is what the Go adapters share: requests in, answers out. matrix/adapters.py says what each means.
package adapter

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"
)

// Limit bounds what a client is waited for.
const Limit = 30 * time.Second

// Record is one to produce, or one that was read.
type Record struct {
	Partition *int32   `json:"partition"`
	Offset    int64    `json:"offset"`
	Timestamp int64    `json:"timestamp"`
	Key       []byte   `json:"key"`
	Value     []byte   `json:"value"`
	Headers   []Header `json:"headers"`
}

// Header is a name and a value, an array in JSON.
type Header struct {
	Name  string
	Value []byte
}

// MarshalJSON writes [name, value].
func (h Header) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{h.Name, h.Value})
}

// UnmarshalJSON reads [name, value].
func (h *Header) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&h.Name, &h.Value})
}

// Request is any of them; what an operation does not use is empty.
type Request struct {
	Op         string            `json:"op"`
	Topic      string            `json:"topic"`
	Partitions int32             `json:"partitions"`
	Partition  int32             `json:"partition"`
	Configs    map[string]string `json:"configs"`
	Codec      string            `json:"codec"`
	Idempotent bool              `json:"idempotent"`
	Records    []Record          `json:"records"`
	From       map[string]int64  `json:"from"`
	Count      int               `json:"count"`
	Reset      string            `json:"reset"`
	Timestamp  int64             `json:"timestamp"`
	Member     string            `json:"member"`
	Group      string            `json:"group"`
	Protocol   string            `json:"protocol"`
	Assignor   string            `json:"assignor"`
	Instance   *string           `json:"instance"`
	Offsets    map[string]int64  `json:"offsets"`
}

// Polled is the answer to poll.
type Polled struct {
	Records  []Record `json:"records"`
	Assigned []int32  `json:"assigned"`
	Lost     []int32  `json:"lost"`
}

// Described is the answer to describe.
type Described struct {
	Partitions int               `json:"partitions"`
	Configs    map[string]string `json:"configs"`
}

// Absent is what a client does not offer.
type Absent string

func (a Absent) Error() string { return string(a) }

// Named is an error with the client's own name for it.
type Named struct {
	Name string
	Err  error
}

func (n Named) Error() string { return n.Err.Error() }

// At is the partition and offset of what was produced.
type At [2]int64

// Partitions turns the keys of From or Offsets into numbers.
func Partitions(offsets map[string]int64) map[int32]int64 {
	found := map[int32]int64{}
	for text, offset := range offsets {
		number, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			panic(err)
		}
		found[int32(number)] = offset
	}
	return found
}

// Hello is what the adapter says of its client first.
type Hello struct {
	Client string `json:"client"`
	// Version is filled in, for the module of this path.
	Version string `json:"version"`
	Empty   bool   `json:"empty"`
}

// Serve answers requests until there are none left.
func Serve(hello Hello, answer func(Request) (any, error)) {
	out := json.NewEncoder(os.Stdout)
	say := func(value any) {
		if err := out.Encode(value); err != nil {
			os.Exit(1)
		}
	}
	hello.Version = version(hello.Version)
	say(hello)
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var request Request
		if in.Decode(&request) != nil {
			return
		}
		value, err := answer(request)
		switch kind := err.(type) {
		case nil:
			say(map[string]any{"ok": value})
		case Absent:
			say(map[string]string{"absent": kind.Error()})
		case Named:
			say(map[string]string{"error": kind.Name, "message": kind.Error()})
		default:
			say(map[string]string{"error": fmt.Sprintf("%T", err), "message": err.Error()})
		}
	}
}

func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, one := range info.Deps {
			if one.Path == module {
				return one.Version
			}
		}
	}
	return "unknown"
}
