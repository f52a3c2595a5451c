package embedded

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The broker keeps its tables in JSON files beside the partitions' folders, each
// written beside and renamed. Its library does not start where one cannot be read,
// and where meta.json is missing it begins a new cluster on top of the old one's
// partitions. So they are looked at first.
const (
	metaFile   = "meta.json"
	topicsFile = "topics.json"
	// damagedSuffix marks a file that was set aside.
	damagedSuffix = ".damaged"
	// keptSuffix marks the copy of topics.json that Backup makes: with the topics'
	// ids, which are nowhere else.
	keptSuffix = ".kept"
	// filesVersion is the format that we can write.
	filesVersion = 1
)

// DamagedFileError names a file of the embedded broker that cannot be made again from
// what else is there.
type DamagedFileError struct{ Path string }

// Error says what is lost and what can be done.
func (e *DamagedFileError) Error() string {
	return fmt.Sprintf("%s is missing or cannot be read, and there is no copy of it (%s): it holds the topics' ids, without which what was stored before cannot be told from what is new. Restore it from a backup, or move the folder %s away to begin with empty topics",
		e.Path, filepath.Base(e.Path)+keptSuffix, filepath.Dir(e.Path))
}

// topicIDSize is the length of a topic's id (KIP-516: a UUID).
const topicIDSize = 16

// topicTable is topics.json.
type topicTable struct {
	Version int        `json:"version"`
	Topics  []topicRow `json:"topics"`
}

type topicRow struct {
	Name       string            `json:"name"`
	ID         []byte            `json:"id"` // 16 bytes
	Partitions int               `json:"partitions"`
	Replicas   int               `json:"replicas"`
	Configs    map[string]string `json:"configs,omitempty"`
}

// repairFiles makes the broker's tables readable again: one that cannot be read is set
// aside; the table of topics comes back from its copy and from the partitions'
// folders, meta.json is written again, and the rest (rights, quotas, settings: the embedded
// broker gets all it needs at each start) starts empty. Error:
// *DamagedFileError.
func repairFiles(dir string, log *slog.Logger) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil // the first start
	}
	if err != nil {
		return fmt.Errorf("reading the broker's folder: %w", err)
	}
	there := make(map[string]bool)
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if err := checkTable(path); err == nil {
			there[e.Name()] = true
			continue
		} else if errors.Is(err, fs.ErrPermission) {
			return err
		} else if err := os.Rename(path, path+damagedSuffix); err != nil {
			return fmt.Errorf("setting a damaged file aside: %w", err)
		}
		log.Error("a file of the embedded broker cannot be read and was set aside", "file", path, "now", path+damagedSuffix)
	}
	if !there[topicsFile] {
		if err := restoreTopics(dir, log); err != nil {
			return err
		}
	}
	if !there[metaFile] {
		log.Error("a file of the embedded broker was missing and is made again", "file", filepath.Join(dir, metaFile))
		return writeTable(filepath.Join(dir, metaFile), struct {
			Version   int    `json:"version"`
			ClusterID string `json:"cluster_id"`
		}{filesVersion, clusterID})
	}
	return nil
}

// restoreTopics writes topics.json from its copy; topics that were made since are
// known by their partitions' folders, and get new ids.
func restoreTopics(dir string, log *slog.Logger) error {
	path := filepath.Join(dir, topicsFile)
	found, err := partitionFolders(dir)
	if err != nil {
		return err
	}
	var table topicTable
	if err := readTable(path+keptSuffix, &table); err != nil {
		if len(found) > 0 {
			return &DamagedFileError{path}
		}
		table.Version = filesVersion // no record was ever written
	}
	for i, t := range table.Topics {
		table.Topics[i].Partitions = max(t.Partitions, found[t.Name])
		delete(found, t.Name)
	}
	for name, partitions := range found {
		id := make([]byte, topicIDSize)
		_, _ = rand.Read(id) // never fails
		table.Topics = append(table.Topics, topicRow{Name: name, ID: id, Partitions: partitions, Replicas: 1})
	}
	log.Error("the embedded broker's table of topics was missing and is made again from its copy", "file", path, "topics", len(table.Topics), "with_new_ids", len(found))
	return writeTable(path, table)
}

// partitionFolders counts the partitions that have a folder, by topic.
func partitionFolders(dir string) (map[string]int, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "partitions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the folders of the broker's partitions: %w", err)
	}
	found := make(map[string]int)
	for _, e := range entries {
		at := strings.LastIndexByte(e.Name(), '-')
		if at < 0 {
			continue
		}
		topic, err := url.PathUnescape(e.Name()[:at])
		n, errN := strconv.Atoi(e.Name()[at+1:])
		if err == nil && errN == nil && n >= 0 {
			found[topic] = max(found[topic], n+1)
		}
	}
	return found, nil
}

// Backup copies the table of topics, so that it can be restored where its file is
// damaged later. It is called when Crier's topics have been made.
func (b *Broker) Backup() error {
	var table topicTable
	path := filepath.Join(b.dir, topicsFile)
	if err := readTable(path, &table); err != nil {
		return err
	}
	slices.SortFunc(table.Topics, func(x, y topicRow) int { return strings.Compare(x.Name, y.Name) })
	return writeTable(path+keptSuffix, table)
}

// checkTable says whether the broker's library can read a file.
func checkTable(path string) error {
	if filepath.Base(path) != topicsFile {
		return readTable(path, new(struct{}))
	}
	var table topicTable
	if err := readTable(path, &table); err != nil {
		return err
	}
	for _, t := range table.Topics {
		if t.Name == "" || len(t.ID) != topicIDSize {
			return fmt.Errorf("reading %s: topic %q has an id of %d bytes, not %d", path, t.Name, len(t.ID), topicIDSize)
		}
	}
	return nil
}

// readTable reads a JSON object with a version.
func readTable(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading a file of the embedded broker: %w", err)
	}
	var v struct{ Version int }
	if err := errors.Join(json.Unmarshal(b, &v), json.Unmarshal(b, into)); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if v.Version < 1 {
		return fmt.Errorf("reading %s: it has no version", path)
	}
	return nil
}

func writeTable(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return writeDurably(path, string(b), 0o600)
}
