package secret_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/blake2b"
)

// TestArgon2Vectors checks x/crypto with vectors of the reference
// implementation (P-H-C/phc-winner-argon2, src/test.c, version 0x13).
func TestArgon2Vectors(t *testing.T) {
	tests := []struct {
		time, memory   uint32
		threads        uint8
		password, salt string
		want           string
	}{
		{2, 1 << 8, 1, "password", "somesalt", "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"},
		{2, 1 << 8, 2, "password", "somesalt", "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037"},
		{1, 1 << 16, 1, "password", "somesalt", "f6a5adc1ba723dddef9b5ac1d464e180fcd9dffc9d1cbf76cca2fed795d9ca98"},
		{2, 1 << 16, 1, "password", "somesalt", "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"},
		{2, 1 << 16, 1, "differentpassword", "somesalt", "0b84d652cf6b0c4beaef0dfe278ba6a80df6696281d7e0d2891b817d8c458fde"},
		{2, 1 << 16, 1, "password", "diffsalt", "bdf32b05ccc42eb15d58fd19b1f856b113da1e9a5874fdcc544308565aa8141c"},
	}
	for _, test := range tests {
		got := argon2.IDKey([]byte(test.password), []byte(test.salt), test.time, test.memory, test.threads, 32)
		if hex.EncodeToString(got) != test.want {
			t.Errorf("%+v: %x", test, got)
		}
	}
}

// TestArgon2RFC ties x/crypto to the vector of RFC 9106 §5.3. That one has a
// secret K and data X, which IDKey cannot take; so an implementation of the
// RFC's text that can is checked with it, and then compared with IDKey.
func TestArgon2RFC(t *testing.T) {
	vector := argon2id{
		password: bytes.Repeat([]byte{1}, 32), salt: bytes.Repeat([]byte{2}, 16),
		secret: bytes.Repeat([]byte{3}, 8), data: bytes.Repeat([]byte{4}, 12),
		time: 3, memory: 32, lanes: 4,
	}
	if got := hex.EncodeToString(vector.tag(32)); got != "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659" {
		t.Fatalf("RFC 9106 §5.3: %s", got)
	}
	for _, test := range []argon2id{
		{time: 1, memory: 8, lanes: 1},
		{time: 1, memory: 64, lanes: 1},
		{time: 3, memory: 37, lanes: 2},
		{time: 2, memory: 19456, lanes: 1},
	} {
		test.password, test.salt = []byte("aZ09bY18"), bytes.Repeat([]byte{5}, 16)
		got := argon2.IDKey(test.password, test.salt, uint32(test.time), uint32(test.memory), uint8(test.lanes), 32)
		if want := test.tag(32); !bytes.Equal(got, want) {
			t.Errorf("m=%d,t=%d,p=%d: %x, not %x", test.memory, test.time, test.lanes, got, want)
		}
	}
}

// argon2id is RFC 9106 §3 with its names, made to be compared with the text
// and not to be fast.
type argon2id struct {
	password, salt, secret, data []byte // P, S, K, X
	time, memory, lanes          int    // t, m, p
	columns, segment             int    // q, q/4
	b                            [][]block
}

type block [128]uint64

// tag is §3.2.
func (a argon2id) tag(length int) []byte {
	h0 := le32(a.lanes, length, a.memory, a.time, 0x13, 2)
	for _, part := range [][]byte{a.password, a.salt, a.secret, a.data} {
		h0 = append(append(h0, le32(len(part))...), part...)
	}
	sum := blake2b.Sum512(h0)
	a.segment = a.memory / (4 * a.lanes)
	a.columns = 4 * a.segment
	a.b = make([][]block, a.lanes)
	for lane := range a.b {
		a.b[lane] = make([]block, a.columns)
		for i := range 2 {
			first := variableHash(append(sum[:], le32(i, lane)...), 1024)
			for word := range a.b[lane][i] {
				a.b[lane][i][word] = binary.LittleEndian.Uint64(first[8*word:])
			}
		}
	}
	for pass := range a.time {
		for slice := range 4 {
			for lane := range a.lanes {
				a.fill(pass, slice, lane)
			}
		}
	}
	var final block
	for lane := range a.b {
		final = xor(final, a.b[lane][a.columns-1])
	}
	var flat []byte
	for _, word := range final {
		flat = binary.LittleEndian.AppendUint64(flat, word)
	}
	return variableHash(flat, length)
}

// fill computes one segment.
func (a argon2id) fill(pass, slice, lane int) {
	independent := pass == 0 && slice < 2 // §3.4.1.3
	var addresses block
	input := block{uint64(pass), uint64(lane), uint64(slice), uint64(4 * a.lanes * a.segment), uint64(a.time), 2}
	for i := range a.segment {
		if independent && i%128 == 0 { // §3.4.1.2
			input[6]++
			addresses = compress(block{}, compress(block{}, input))
		}
		column := slice*a.segment + i
		if pass == 0 && column < 2 {
			continue
		}
		previous := a.b[lane][(column+a.columns-1)%a.columns]
		j := previous[0]
		if independent {
			j = addresses[i%128]
		}
		made := compress(previous, a.reference(pass, slice, lane, i, j))
		if pass > 0 {
			made = xor(made, a.b[lane][column])
		}
		a.b[lane][column] = made
	}
}

// reference is §3.4.2.
func (a argon2id) reference(pass, slice, lane, i int, j uint64) block {
	from := int(j>>32) % a.lanes
	if pass == 0 && slice == 0 {
		from = lane
	}
	area, start := slice*a.segment, 0
	if pass > 0 {
		area, start = a.columns-a.segment, (slice+1)*a.segment
	}
	if from == lane {
		area += i - 1
	} else if i == 0 {
		area--
	}
	j1 := j & 0xffffffff
	x := j1 * j1 >> 32
	y := uint64(area) * x >> 32
	return a.b[from][(start+area-1-int(y))%a.columns]
}

// variableHash is H' of §3.3.
func variableHash(input []byte, length int) []byte {
	input = append(le32(length), input...)
	if length <= 64 {
		h, err := blake2b.New(length, nil)
		if err != nil {
			panic(fmt.Sprint(length, err))
		}
		h.Write(input)
		return h.Sum(nil)
	}
	var out []byte
	for v := blake2b.Sum512(input); ; v = blake2b.Sum512(v[:]) {
		if length-len(out) <= 64 {
			return append(out, v[:]...)
		}
		out = append(out, v[:32]...)
	}
}

// compress is G of §3.5.
func compress(x, y block) block {
	r := xor(x, y)
	q := r
	for row := range 8 {
		var at [16]int
		for i := range at {
			at[i] = 16*row + i
		}
		permute(&q, at)
	}
	for column := range 8 {
		var at [16]int
		for i := range at {
			at[i] = 16*(i/2) + 2*column + i%2
		}
		permute(&q, at)
	}
	return xor(q, r)
}

// permute is P of §3.6, on the sixteen words at the given places.
func permute(b *block, at [16]int) {
	gb := func(a, c, d, e int) {
		va, vb, vc, vd := &b[at[a]], &b[at[c]], &b[at[d]], &b[at[e]]
		mix := func(x, y uint64) uint64 { return x + y + 2*(x&0xffffffff)*(y&0xffffffff) }
		*va = mix(*va, *vb)
		*vd = bits.RotateLeft64(*vd^*va, -32)
		*vc = mix(*vc, *vd)
		*vb = bits.RotateLeft64(*vb^*vc, -24)
		*va = mix(*va, *vb)
		*vd = bits.RotateLeft64(*vd^*va, -16)
		*vc = mix(*vc, *vd)
		*vb = bits.RotateLeft64(*vb^*vc, -63)
	}
	for i := range 4 {
		gb(i, i+4, i+8, i+12)
	}
	for i := range 4 {
		gb(i, (i+1)%4+4, (i+2)%4+8, (i+3)%4+12)
	}
}

func xor(x, y block) block {
	for i := range x {
		x[i] ^= y[i]
	}
	return x
}

func le32(numbers ...int) (b []byte) {
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return b
}
