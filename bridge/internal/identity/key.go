package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// KeyBytes is the length of a key in a key file.
const KeyBytes = 32

// keyIDBytes is the length of a key's id: enough to tell the few keys of an install apart.
const keyIDBytes = 4

// Key seals what is stored encrypted, with the last key of a key file; it opens what any of them sealed. The file is read again when
// something was sealed with a key that is not known: by a bridge that has a newer file.
type Key struct {
	file string

	mu   sync.Mutex
	keys []sealingKey
}

// sealingKey is one line of a key file.
type sealingKey struct {
	id   [keyIDBytes]byte
	aead cipher.AEAD
}

// ReadKey reads a key file: a line for each key, 32 random bytes in base64.
func ReadKey(file string) (*Key, error) {
	if file == "" {
		return nil, errors.New("keyFile: is not set. It seals what the bridges keep in the database. Make one with \"fairlead-bridge key create FILE\", give it to every bridge of this install, and set keyFile: FILE")
	}
	keys, err := readKeys(file)
	if err != nil {
		return nil, fmt.Errorf("keyFile: %w", err)
	}
	return &Key{file: file, keys: keys}, nil
}

func readKeys(file string) ([]sealingKey, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist. Make it with \"fairlead-bridge key create %s\", or copy it from another bridge of this install", file, file)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%s: this process may not read it (it runs as user %d): make it the file's owner, or in Kubernetes set the pod's securityContext.fsGroup", file, os.Getuid())
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s: every user may read it (mode %04o): chmod 0600 it, or in Kubernetes set defaultMode: 0440 of the Secret's volume", file, info.Mode().Perm())
	}
	var keys []sealingKey
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		key, err := parseKey(line)
		if err != nil {
			return nil, fmt.Errorf("%s does not hold %d bytes in base64 in each line, as \"fairlead-bridge key create\" writes them", file, KeyBytes)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s does not hold %d bytes in base64, as \"fairlead-bridge key create\" writes them", file, KeyBytes)
	}
	return keys, nil
}

func parseKey(line string) (sealingKey, error) {
	key, err := base64.StdEncoding.DecodeString(line)
	if err != nil || len(key) != KeyBytes {
		return sealingKey{}, errors.New("not a key")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealingKey{}, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return sealingKey{}, err
	}
	out := sealingKey{aead: aead}
	sum := sha256.Sum256(append([]byte("fairlead key id"), key...))
	copy(out.id[:], sum[:])
	return out, nil
}

// CreateKey makes a key file that only its owner can read. It never replaces one: what an old key sealed would be lost.
func CreateKey(file string) error {
	line, err := newKeyLine()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists and stays as it is: what it sealed could not be read with a new key. \"fairlead-bridge key add %s\" adds one", file, file)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Sync(), f.Close())
}

// AddKey adds a new key to a key file; it is the one that seals from then on. It returns the new key's id.
func AddKey(file string) (id string, err error) {
	keys, err := readKeys(file)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line, err := newKeyLine()
	if err != nil {
		return "", err
	}
	added, err := parseKey(strings.TrimSpace(line))
	if err != nil {
		return "", err
	}
	if len(keys) >= 8 {
		return "", fmt.Errorf("%s holds %d keys already; seal everything with the newest (\"fairlead key rotate\") and drop the others (\"fairlead-bridge key drop\")", file, len(keys))
	}
	return hex.EncodeToString(added.id[:]), replaceKeys(file, strings.TrimRight(string(text), "\n")+"\n"+line)
}

// DropKeys leaves the newest key alone in a key file and returns the ids of those that went. What only they can open is lost: everything
// must have been sealed with the newest before.
func DropKeys(file string) (dropped []string, err error) {
	keys, err := readKeys(file)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for _, k := range keys[:len(keys)-1] {
		dropped = append(dropped, hex.EncodeToString(k.id[:]))
	}
	lines := strings.Fields(string(text))
	return dropped, replaceKeys(file, lines[len(lines)-1]+"\n")
}

func newKeyLine() (string, error) {
	key := make([]byte, KeyBytes)
	if _, err := rand.Read(key); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(key) + "\n", nil
}

// replaceKeys writes beside the file and renames, so that nobody reads half of it.
func replaceKeys(file, text string) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".fairlead-key-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // not there any more if all went well
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// IDs returns the ids of the file's keys, as it is now, the sealing one last.
func (k *Key) IDs() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reload()
	ids := make([]string, 0, len(k.keys))
	for _, key := range k.keys {
		ids = append(ids, hex.EncodeToString(key.id[:]))
	}
	return ids
}

// reload reads the file again; one that makes no sense now leaves what was known. The lock is held.
func (k *Key) reload() {
	if keys, err := readKeys(k.file); err == nil {
		k.keys = keys
	}
}

// Everything sealed begins with a byte that says how: AES-256-GCM both; since version 2 the id of the key comes next. Then a nonce of
// 12 bytes.
const (
	sealedWithoutID = 1
	sealedWithID    = 2
)

// ErrWrongKey says that something was sealed with another key, or changed since.
var ErrWrongKey = errors.New("sealed with another key")

// Seal encrypts a secret. It opens only under the same name.
func (k *Key) Seal(name string, secret []byte) ([]byte, error) {
	k.mu.Lock()
	key := k.keys[len(k.keys)-1]
	k.mu.Unlock()
	start := 1 + keyIDBytes
	nonce := start + key.aead.NonceSize()
	out := make([]byte, nonce, nonce+len(secret)+key.aead.Overhead())
	out[0] = sealedWithID
	copy(out[1:], key.id[:])
	if _, err := rand.Read(out[start:]); err != nil {
		return nil, err
	}
	return key.aead.Seal(out, out[start:], secret, []byte(name)), nil
}

// Open decrypts what Seal made. It returns ErrWrongKey when no key fits.
func (k *Key) Open(name string, sealed []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	secret, err := k.open(name, sealed)
	if errors.Is(err, ErrWrongKey) {
		k.reload()
		secret, err = k.open(name, sealed)
	}
	return secret, err
}

// open tries the keys that are known. The lock is held.
func (k *Key) open(name string, sealed []byte) ([]byte, error) {
	keys, ids := k.keys, ""
	var rest []byte
	switch {
	case len(sealed) > 12 && sealed[0] == sealedWithoutID:
		rest = sealed[1:]
	case len(sealed) > 1+keyIDBytes && sealed[0] == sealedWithID:
		rest, ids = sealed[1+keyIDBytes:], hex.EncodeToString(sealed[1:1+keyIDBytes])
		keys = nil
		for _, key := range k.keys {
			if string(key.id[:]) == string(sealed[1:1+keyIDBytes]) {
				keys = append(keys, key)
			}
		}
	default:
		return nil, fmt.Errorf("%s is sealed in a way that this version does not know", name)
	}
	for _, key := range keys {
		n := key.aead.NonceSize()
		if len(rest) < n {
			break
		}
		if secret, err := key.aead.Open(nil, rest[:n], rest[n:], []byte(name)); err == nil {
			return secret, nil
		}
	}
	if ids != "" && len(keys) == 0 {
		return nil, fmt.Errorf("%s: %w, of id %s, which is not in the key file", name, ErrWrongKey, ids)
	}
	return nil, fmt.Errorf("%s: %w", name, ErrWrongKey)
}

// sealedByNewest tells whether the newest key sealed something.
func (k *Key) sealedByNewest(sealed []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	newest := k.keys[len(k.keys)-1].id
	return len(sealed) > 1+keyIDBytes && sealed[0] == sealedWithID && string(sealed[1:1+keyIDBytes]) == string(newest[:])
}
