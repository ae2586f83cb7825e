// redsync through its own API: see ../run.   program PORT pairs|handoff CALLERS SECONDS WARM_UP
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

const ttl = 30 * time.Second

var (
	factory        *redsync.Redsync // everything but the ttl as it comes
	count          atomic.Int64
	counting, over atomic.Bool
)

func pairs(i int) {
	for !over.Load() {
		mutex := factory.NewMutex(fmt.Sprintf("lock:peers/%d", i), redsync.WithExpiry(ttl))
		if err := mutex.Lock(); err != nil {
			fail(err)
		}
		if _, err := mutex.Unlock(); err != nil {
			fail(err)
		}
		if counting.Load() {
			count.Add(1)
		}
	}
}

var last struct {
	sync.Mutex
	owner   int
	release time.Time
}

func handOffs(i int) {
	for !over.Load() {
		since := time.Now()
		mutex := factory.NewMutex("lock:peers-handoff", redsync.WithExpiry(ttl))
		for mutex.Lock() != nil { // its own patience is over: it goes on waiting
			if over.Load() {
				return
			}
		}
		last.Lock()
		if counting.Load() && last.owner != i && since.Before(last.release) {
			count.Add(1)
		}
		last.owner, last.release = i, time.Now()
		last.Unlock()
		if _, err := mutex.Unlock(); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func number(word string) float64 {
	value, err := strconv.ParseFloat(word, 64)
	if err != nil {
		fail(err)
	}
	return value
}

func seconds(word string) time.Duration {
	return time.Duration(number(word) * float64(time.Second))
}

func main() {
	factory = redsync.New(goredis.NewPool(redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + os.Args[1]})))
	last.owner = -1
	work := handOffs
	if os.Args[2] == "pairs" {
		work = pairs
	}
	for i := 0; i < int(number(os.Args[3])); i++ {
		go work(i)
	}
	time.Sleep(seconds(os.Args[5]))
	began := time.Now()
	counting.Store(true)
	time.Sleep(seconds(os.Args[4]))
	counting.Store(false)
	took := time.Since(began).Seconds()
	over.Store(true)
	time.Sleep(200 * time.Millisecond) // who holds a lock gives it back
	fmt.Printf("{\"count\": %d, \"seconds\": %f}\n", count.Load(), took)
}
