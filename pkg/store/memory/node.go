package memory

import (
	"bytes"
	"hash/maphash"
)

// A node is the root of a treap: a search tree by key, and a heap by a rank
// that is the key's hash, which keeps it balanced without any bookkeeping. It
// is never changed once a version holds it. A nil node is an empty tree.
type node struct {
	key, value  []byte
	rank        uint64
	left, right *node
}

var seed = maphash.MakeSeed()

func newNode(key, value []byte) *node {
	both := append(append(make([]byte, 0, len(key)+len(value)), key...), value...)
	k := len(key)
	return &node{key: both[:k:k], value: both[k:len(both):len(both)], rank: maphash.Bytes(seed, key)}
}

func (n *node) find(key []byte) *node {
	for n != nil {
		switch c := bytes.Compare(key, n.key); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return n
		}
	}
	return nil
}

// put returns a tree that has item, in the place of one with the same key.
func (n *node) put(item *node) *node {
	if n == nil {
		return item
	}
	top := *n
	switch c := bytes.Compare(item.key, n.key); {
	case c == 0:
		item.left, item.right = n.left, n.right
		return item
	case c < 0:
		top.left = n.left.put(item)
		if l := top.left; l.rank > top.rank { // l is a copy of ours
			top.left, l.right = l.right, &top
			return l
		}
	default:
		top.right = n.right.put(item)
		if r := top.right; r.rank > top.rank {
			top.right, r.left = r.left, &top
			return r
		}
	}
	return &top
}

// delete returns a tree without key, which must be there.
func (n *node) delete(key []byte) *node {
	c := bytes.Compare(key, n.key)
	if c == 0 {
		return join(n.left, n.right)
	}
	top := *n
	if c < 0 {
		top.left = n.left.delete(key)
	} else {
		top.right = n.right.delete(key)
	}
	return &top
}

// join makes one tree of two, all keys of low being below those of high.
func join(low, high *node) *node {
	switch {
	case low == nil:
		return high
	case high == nil:
		return low
	case low.rank > high.rank:
		top := *low
		top.right = join(low.right, high)
		return &top
	default:
		top := *high
		top.left = join(low, high.left)
		return &top
	}
}

// walk calls yield in order for the keys that begin with prefix and, unless
// after is nil, are greater than after, until yield says no. It tells whether
// the walk may go on.
func (n *node) walk(prefix, after []byte, yield func(*node) bool) bool {
	if n == nil {
		return true
	}
	below := bytes.Compare(n.key, prefix) < 0 || after != nil && bytes.Compare(n.key, after) <= 0
	if !below {
		if !n.left.walk(prefix, after, yield) {
			return false
		}
		if !bytes.HasPrefix(n.key, prefix) || !yield(n) {
			return false
		}
	}
	return n.right.walk(prefix, after, yield)
}
