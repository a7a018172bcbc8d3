#include <cstdint>
void dijkstra(const uint8_t weight[7][7], uint16_t distance[7]) {
    for (int i = 0; i < 7; i++) distance[i] = i ? 60000 : 0;
    for (int round = 0; round < 7; round++)
        for (int i = 0; i < 7; i++)
            for (int j = 0; j < 7; j++)
                if (distance[i] + weight[i][j] < distance[j]) distance[j] = (uint16_t)(distance[i] + weight[i][j]);
}
