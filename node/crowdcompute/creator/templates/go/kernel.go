// One chunk: numbers as arguments or bytes on stdin, the result on stdout. `cc-task build` compiles it, `cc-task run
// --local` tries it out. What goes to stderr, with an exit code that is not 0, is the task's own error.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
)

func chunk(start, stop int64) ([]byte, error) {
	if start > stop {
		return nil, fmt.Errorf("%d is after %d", start, stop)
	}
	var sum uint64
	for n := start; n < stop; n++ {
		sum += uint64(n * n)
	}
	return binary.LittleEndian.AppendUint64(nil, sum), nil
}

func main() {
	var numbers []int64
	for _, text := range os.Args[1:] {
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			fail(err)
		}
		numbers = append(numbers, number)
	}
	if len(numbers) != 2 {
		fail(fmt.Errorf("a range is two numbers, not %d", len(numbers)))
	}
	result, err := chunk(numbers[0], numbers[1])
	if err != nil {
		fail(err)
	}
	os.Stdout.Write(result)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
