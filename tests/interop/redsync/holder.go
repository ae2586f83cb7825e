// Takes, extends and gives back locks through redsync, as it is told on stdin: see foreign_holders.py.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-redsync/redsync/v4"
	pool "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

var locks = map[string]*redsync.Mutex{}

func obey(factory *redsync.Redsync, words []string) (bool, error) {
	verb, key := words[0], words[1]
	switch verb {
	case "try", "acquire":
		millis, err := strconv.Atoi(words[2])
		if err != nil {
			return false, err
		}
		mutex := factory.NewMutex(key, redsync.WithExpiry(time.Duration(millis)*time.Millisecond))
		take := mutex.Lock
		if verb == "try" {
			take = mutex.TryLock
		}
		if err := take(); err != nil {
			return false, err
		}
		locks[key] = mutex
		return true, nil
	case "extend":
		return locks[key].Extend()
	default:
		mutex := locks[key]
		delete(locks, key)
		return mutex.Unlock()
	}
}

// Somebody else has it, or it has ended; anything else is an error.
func isRefusal(err error) bool {
	var taken *redsync.ErrTaken
	return errors.Is(err, redsync.ErrFailed) || errors.Is(err, redsync.ErrExtendFailed) || errors.As(err, &taken)
}

func main() {
	var pools []pool.Pool
	for _, port := range os.Args[1:] {
		pools = append(pools, goredis.NewPool(redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port})))
	}
	factory := redsync.New(pools...)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		done, err := obey(factory, strings.Fields(lines.Text()))
		switch {
		case err != nil && !isRefusal(err):
			fmt.Println("error", strings.ReplaceAll(err.Error(), "\n", " "))
		case done:
			fmt.Println("yes")
		default:
			fmt.Println("no")
		}
	}
}
