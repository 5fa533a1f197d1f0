#include "mlh/glass/ring_statistics.hpp"

#include <algorithm>
#include <map>

namespace mlh {

namespace {

std::size_t idx(int i) { return static_cast<std::size_t>(i); }

bool precedes(const Neighbor& a, const Neighbor& b) {
  return a.atom != b.atom ? a.atom < b.atom : a.shift < b.shift;
}

struct Order {
  bool operator()(const Neighbor& a, const Neighbor& b) const { return precedes(a, b); }
};

/// Nodes within `depth` links of one node in the cell 0, in the order of their distance.
struct Ball {
  std::vector<Neighbor> nodes;
  std::vector<int> distance;
  std::vector<std::vector<int>> previous;  ///< indices of the nodes one link closer to the root
  std::map<Neighbor, int, Order> index;

  /// Distance from the root; anything outside the ball is further than `depth`.
  int distance_to(const Neighbor& node, int depth) const {
    const auto found = index.find(node);
    return found == index.end() ? depth + 1 : distance[idx(found->second)];
  }
};

using Path = std::vector<int>;  // indices into a ball, from its root outwards

Ball make_ball(const LinkGraph& graph, int root, int depth) {
  Ball ball;
  const auto add = [&ball](const Neighbor& node, int distance) {
    ball.index.emplace(node, static_cast<int>(ball.nodes.size()));
    ball.nodes.push_back(node);
    ball.distance.push_back(distance);
    ball.previous.emplace_back();
  };
  add({root, {0, 0, 0}}, 0);
  for (int k = 0; k < static_cast<int>(ball.nodes.size()) && ball.distance[idx(k)] < depth; ++k) {
    const Neighbor from = ball.nodes[idx(k)];
    for (int l = graph.start[idx(from.atom)]; l < graph.start[idx(from.atom) + 1]; ++l) {
      const Neighbor to{graph.links[idx(l)].atom, from.shift + graph.links[idx(l)].shift};
      if (!ball.index.contains(to)) add(to, ball.distance[idx(k)] + 1);
      const int target = ball.index.at(to);
      if (ball.distance[idx(target)] == ball.distance[idx(k)] + 1) {
        ball.previous[idx(target)].push_back(k);
      }
    }
  }
  return ball;
}

/// All shortest paths from the root to `node`.
std::vector<Path> shortest_paths(const Ball& ball, int node) {
  if (ball.distance[idx(node)] == 0) return {{node}};
  std::vector<Path> paths;
  for (const int before : ball.previous[idx(node)]) {
    for (Path& path : shortest_paths(ball, before)) {
      path.push_back(node);
      paths.push_back(std::move(path));
    }
  }
  return paths;
}

/// Whether two shortest paths from the root have only the root and (where equal) their ends in
/// common.
bool disjoint(const Path& p, const Path& q) {
  const bool same_end = p.back() == q.back();
  for (std::size_t k = 1; k + (same_end ? 1 : 0) < p.size(); ++k) {
    if (p[k] == q[k]) return false;
  }
  return true;
}

/// Closes p and q to a ring and looks for a shortcut. Opposite nodes suffice: a shortcut between
/// any two nodes also shortens the way from one of them to the node opposite to it.
bool is_shortest_path_ring(const std::vector<Ball>& balls, const Ball& ball, const Path& p,
                           const Path& q, int depth) {
  std::vector<Neighbor> ring;
  for (const int k : p) ring.push_back(ball.nodes[idx(k)]);
  const std::size_t last = p.back() == q.back() ? q.size() - 1 : q.size();
  for (std::size_t k = last; k-- > 1;) ring.push_back(ball.nodes[idx(q[k])]);
  const std::size_t half = ring.size() / 2;
  for (std::size_t k = 0; k < ring.size(); ++k) {
    const Neighbor& a = ring[k];
    const Neighbor& b = ring[(k + half) % ring.size()];
    const Neighbor relative{b.atom, b.shift + -a.shift};
    if (balls[idx(a.atom)].distance_to(relative, depth) != static_cast<int>(half)) return false;
  }
  return true;
}

std::int64_t rings_between(const std::vector<Ball>& balls, const Ball& ball,
                           const std::vector<Path>& from, const std::vector<Path>& to, bool same,
                           int depth) {
  std::int64_t count = 0;
  for (std::size_t a = 0; a < from.size(); ++a) {
    for (std::size_t b = same ? a + 1 : 0; b < to.size(); ++b) {
      if (disjoint(from[a], to[b]) && is_shortest_path_ring(balls, ball, from[a], to[b], depth)) {
        ++count;
      }
    }
  }
  return count;
}

/// Sorted links without repetitions, and how many pairs of nodes had more than one.
LinkGraph simple_graph(const LinkGraph& graph, std::int64_t& doubled) {
  LinkGraph out;
  out.start = {0};
  std::int64_t twice = 0;
  for (int i = 0; i < graph.size(); ++i) {
    std::vector<Neighbor> row(graph.links.begin() + graph.start[idx(i)],
                              graph.links.begin() + graph.start[idx(i) + 1]);
    std::sort(row.begin(), row.end(), precedes);
    for (std::size_t k = 0; k < row.size(); ++k) {
      const bool repeated = k > 0 && row[k] == row[k - 1];
      if (!repeated) out.links.push_back(row[k]);
      if (repeated && (k < 2 || !(row[k] == row[k - 2]))) ++twice;
    }
    out.start.push_back(static_cast<int>(out.links.size()));
  }
  doubled = twice / 2;  // met from both nodes
  return out;
}

}  // namespace

std::vector<std::int64_t> count_rings(const LinkGraph& links, int max_size) {
  std::vector<std::int64_t> counts(idx(max_size) + 1, 0);
  std::int64_t doubled = 0;
  const LinkGraph graph = simple_graph(links, doubled);
  const int depth = max_size / 2;
  std::vector<Ball> balls;
  balls.reserve(static_cast<std::size_t>(graph.size()));
  for (int root = 0; root < graph.size(); ++root) balls.push_back(make_ball(graph, root, depth));

  for (const Ball& ball : balls) {
    for (int k = 1; k < static_cast<int>(ball.nodes.size()); ++k) {
      const int m = ball.distance[idx(k)];
      const std::vector<Path> paths = shortest_paths(ball, k);
      if (m >= 2) counts[idx(2 * m)] += rings_between(balls, ball, paths, paths, true, depth);
      if (2 * m + 1 > max_size) continue;
      const Neighbor node = ball.nodes[idx(k)];
      for (int l = graph.start[idx(node.atom)]; l < graph.start[idx(node.atom) + 1]; ++l) {
        const Neighbor next{graph.links[idx(l)].atom, node.shift + graph.links[idx(l)].shift};
        const auto found = ball.index.find(next);
        if (found == ball.index.end() || found->second <= k) continue;
        if (ball.distance[idx(found->second)] != m) continue;
        counts[idx(2 * m + 1)] +=
            rings_between(balls, ball, paths, shortest_paths(ball, found->second), false, depth);
      }
    }
  }
  // Each ring was met once from each of its nodes.
  for (int size = 3; size <= max_size; ++size) counts[idx(size)] /= size;
  if (max_size >= 2) counts[2] = doubled;
  return counts;
}

}  // namespace mlh
