package store

// Raw writes a byte as it is.
func (e *Encoder) Raw(b byte) { e.b = append(e.b, b) }
