package keyfile

import "time"

// ParseFile parses the text of a key file and renders what was in it.
func ParseFile(text []byte) ([]byte, error) {
	keys, err := parse(text)
	if err != nil {
		return nil, err
	}
	return render(keys), nil
}

// FullFile is the text of a file that has no room for two more keys.
func FullFile(now time.Time) ([]byte, error) {
	keys, err := withNew(nil, now)
	if err != nil {
		return nil, err
	}
	keys[0].number = 10000 // so that all have as many digits
	next := keys[0]
	next.number++
	one := len(render(keys))
	line := len(render([]masterKey{keys[0], next})) - one
	for ; one+len(keys)*line <= maxSize-line; next.number++ {
		keys = append(keys, next)
	}
	return render(keys), nil
}
