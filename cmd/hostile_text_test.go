//go:build linux

package cmd_test

import (
	"hash/crc32"
	"strconv"
)

func itoa(n int) string { return strconv.Itoa(n) }

// crcOf is the end of a secret that begins so: its CRC-32 (IEEE) as six digits
// of base62, written once more from the specification.
func crcOf(begin string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := crc32.ChecksumIEEE([]byte(begin))
	var end [6]byte
	for i := len(end) - 1; i >= 0; i-- {
		end[i] = digits[sum%62]
		sum /= 62
	}
	return string(end[:])
}
